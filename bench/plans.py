"""The measurements of `quick`, `all`, and of parts of the page."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from bench.cases import crowd, fanout, idle, layers, profile, replicas, sends
from bench.runs import Run

CORE = ("maru", "maru-before", "centrifugo-history", "nchan", "oxide", "bare")
OTHERS = ("stock", "node", "node-streams", "bun", "nats", "centrifugo")
FEW = ("maru", "maru-before", "centrifugo-history", "oxide", "node", "bun")
CURVES = ("maru", "node", "bare")
LOGS = ("maru-sqlite", "maru-sqlite-before", "jetstream-always", "maru-redis", "maru-redis-before", "centrifugo-redis")
"""An ack says: on disk, or in Redis."""

FORGETFUL = ("maru", "centrifugo-history", "jetstream", "pyfloor")
"""What an ack tells of is in memory, or is on disk in two minutes, or is nothing."""

ENTRIES = ("maru", "maru-asyncio", "maru-before", "centrifugo-history", "node")
LAYERED = ("maru-sqlite", "maru-redis")
ALONE = 32
"""Messages under way of the client that sends alone."""


def quick(run: Run, rounds: int) -> None:
    """A first look: the figures that change first when something breaks."""
    work = fanout.Work(in_flight=(1, 32), senders=(32, 1), rounds=min(2, rounds), seconds=0.5, warm_s=0.2)
    fanout.fanout(run, ("maru", "node", "bare"), work)
    fanout.small(run, ("maru", "node"), (10, 100), rounds=1, seconds=0.5)
    fanout.direct(run, ("maru", "node"), (1,), rounds=1, seconds=0.5)
    crowd.handshakes(run, ("maru", "node"), crowd.Work(clients=2_000, rounds=1))
    crowd.crowd(run, ("maru",), crowd.Work(clients=2_000, rounds=1))
    sends.sends(run, ("maru-sqlite",), sends.Work(clients=(256,), rounds=1, seconds=1.0, alone=ALONE))


def goals(run: Run, rounds: int) -> None:
    """All that the goals are judged by: peers and rounds alternate. What has the most goals comes first."""
    acked = sends.Work((16, 256), rounds=rounds, seconds=0.8, warm_s=0.3, alone=ALONE, half=False)
    sends.sends(run, LOGS, acked)
    fanout.direct(run, FEW, (1, 2), rounds, seconds=0.6)
    fanout.small(run, FEW, (10, 100), rounds, seconds=0.5)
    crowd.handshakes(run, ENTRIES, crowd.Work(2_500, rounds))
    sends.sends(run, FORGETFUL, replace(acked, rounds=min(rounds, 3)))
    crowd.crowd(run, ("maru", "centrifugo-history"), crowd.Work(5_000, 1))
    crowd.crowd(run, ("maru",), crowd.Work(8_000, min(rounds, 2)))
    replicas.idle(run, ("maru-redis",), rounds=1)
    large = fanout.Work(in_flight=(1, 32), senders=(1, 32), rounds=rounds, seconds=0.7, warm_s=0.2)
    fanout.fanout(run, CORE, large)


def waits(run: Run, rounds: int) -> None:
    """How long a delivery takes, and an ack at half of what each log can do."""
    fanout.latency(run, ("maru", "centrifugo-history", "nchan"), fanout.Work(rounds=min(rounds, 3), seconds=1.0))
    logs = ("maru-sqlite", "maru-redis", "centrifugo-redis", "jetstream-always")
    sends.sends(run, logs, sends.Work((256,), rounds=min(rounds, 3), seconds=1.0, warm_s=0.3))


def rest(run: Run, rounds: int) -> None:
    """What the page has beside the goals, once."""
    once = min(rounds, 1)
    fanout.fanout(run, OTHERS, fanout.Work(rounds=once, seconds=0.5))
    fanout.members(run, CURVES, (1, 100, 1_000, 5_000), once, seconds=0.4)
    fanout.sizes(run, CURVES, (64, 8_192), once, seconds=0.4)
    fanout.channels(run, ("maru", "node"), (1, 100, 1_000), once, seconds=0.4)
    crowd.crowd(run, ("maru-asyncio", "stock", "node", "oxide", "nats", "nchan"), crowd.Work(5_000, once))
    crowd.storm(run, ("maru", "node"), crowd.Work(5_000, once))
    replicas.replicas(run, ("maru-redis", "stock-redis", "node-streams"), replicas.Work((1, 2), rounds=once))
    profile.profile(run)


def everything(run: Run, rounds: int) -> None:
    """All that docs/performance.md tells."""
    goals(run, rounds)
    waits(run, 1)
    idle.idle(run, ("maru",), idle.Work())
    layers.profile(run, LAYERED, layers.Work(seconds=1.0))
    rest(run, 1)


PLANS: Mapping[str, Callable[[Run, int], None]] = {
    "quick": quick,
    "all": everything,
    "goals": goals,
    "waits": waits,
    "rest": rest,
}
