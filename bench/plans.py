"""The measurements of `quick` and `all`."""

from collections.abc import Callable, Mapping

from bench.cases import crowd, fanout, profile, replicas, sends
from bench.runs import Run

EVERYBODY = ("maru", "stock", "node", "node-streams", "nats", "nchan", "bare")
CORE = ("maru", "stock", "node", "nchan", "bare")
CURVES = ("maru", "stock", "node", "bare")


def quick(run: Run, rounds: int) -> None:
    """A first look: the figures that change first when something breaks."""
    work = fanout.Work(in_flight=(1, 32), senders=(32, 1), rounds=min(2, rounds), seconds=0.5, warm_s=0.2)
    fanout.fanout(run, ("maru", "node", "bare"), work)
    crowd.crowd(run, ("maru", "node"), crowd.Work(clients=2_000, rounds=1))
    sends.sends(run, ("maru-sqlite",), sends.Work(clients=(256,), rounds=1, seconds=1.0))


def everything(run: Run, rounds: int) -> None:
    """All that docs/performance.md tells."""
    main = fanout.Work(in_flight=(1, 32), senders=(1, 32), rounds=rounds, seconds=0.7, warm_s=0.2)
    fanout.fanout(run, CORE, main)
    fanout.fanout(run, EVERYBODY, fanout.Work(in_flight=(4,), senders=(1,), rounds=min(2, rounds), seconds=0.7))
    fanout.members(run, CURVES, (1, 10, 100, 1_000, 5_000), rounds=1, seconds=0.5)
    fanout.sizes(run, CURVES, (64, 512, 2_048, 8_192), rounds=1, seconds=0.5)
    fanout.channels(run, ("maru", "node"), (1, 10, 100, 1_000), rounds=1, seconds=0.5)
    fanout.latency(run, ("maru", "stock", "node", "nchan"), fanout.Work(rounds=1, seconds=1.0))
    crowd.crowd(run, ("maru", "node"), crowd.Work(clients=5_000, rounds=rounds))
    crowd.crowd(run, ("maru-asyncio", "stock", "nats", "nchan"), crowd.Work(clients=5_000, rounds=1))
    crowd.crowd(run, ("maru", "stock", "node"), crowd.Work(clients=8_000, rounds=1))
    crowd.storm(run, ("maru", "node"), crowd.Work(clients=5_000, rounds=1))
    crowd.heartbeat(run, ("maru",), clients=15_000, seconds=10.0, rounds=1)
    sends.sends(run, ("maru-sqlite", "maru-redis"), sends.Work(rounds=1, seconds=1.0, warm_s=0.3))
    replicas.replicas(run, ("maru-redis", "stock-redis", "node-streams"), replicas.Work(rounds=1))
    replicas.idle(run, ("maru-redis", "stock-redis"), rounds=1)
    profile.profile(run)


PLANS: Mapping[str, Callable[[Run, int], None]] = {"quick": quick, "all": everything}
