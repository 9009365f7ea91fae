"""Several replicas behind one Redis: what they do together, what each spends, and what one spends that has no member.

On a machine with two cores all replicas share the server's core, and Redis the load's: what all of them deliver
together can't grow there, but what each spends on a message can be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import fanout
from bench.fanout import Flow, Pace, Window
from bench.runs import Run

CASE = "replicas"
IDLE = "idle-replica"

FEW = 5
"""Members of the busy channel, all on the other replica."""


@dataclass(frozen=True, slots=True)
class Work:
    """The fan-outs that each kind of cluster is to do."""

    replicas: tuple[int, ...] = (1, 2, 4)
    members: int = 1_000
    in_flight: tuple[int, ...] = (1, 32)
    rounds: int = 2
    seconds: float = 1.0
    warm_s: float = 0.3


def replicas(run: Run, names: Sequence[str], work: Work) -> None:
    """The members are spread evenly; who sends is on the first replica."""
    for number in range(work.rounds):
        for count in work.replicas:
            for name in names:
                params = {"replicas": count, "members": work.members}
                with (
                    run.attempt(CASE, name, number, params),
                    run.peer(name, replicas=count) as peer,
                    run.load(peer) as load,
                ):
                    load.do("prepare", count=work.members, channels=["room:0"], join=True)
                    load.do("enter")
                    for in_flight in work.in_flight:
                        pids = tuple(peer.pids())
                        window = Window(("room:0",), 64, in_flight, work.seconds, work.warm_s, pids)
                        flow: Flow = load.do("fanout", window=window)
                        values = fanout.figures(flow)
                        values["replica_us"] = values["wave_us"] / count
                        run.record(CASE, name, number, params | {"in_flight": in_flight}, values)


def idle(run: Run, names: Sequence[str], messages_s: float = 2_000.0, rounds: int = 2, seconds: float = 2.0) -> None:
    """Two replicas; a channel is busy on one, and nobody of it is on the other."""
    for number in range(rounds):
        for name in names:
            params = {"messages_s": int(messages_s)}
            with run.attempt(IDLE, name, number, params), run.peer(name, replicas=2) as peer:
                busy, spare = (tuple(process.pids()) for process in peer.processes)
                with run.load(peer, ports=peer.ports[:1]) as load:
                    load.do("prepare", count=FEW, channels=["room:0"], join=True)
                    load.do("enter")
                    shares: dict[str, float] = {}
                    for which, pids in (("busy_share", busy), ("idle_share", spare)):
                        window = Window(("room:0",), 64, 1, seconds, 0.3, pids)
                        pace: Pace = load.do("latency", window=window, waves_s=messages_s)
                        shares[which] = pace.flow.server_cpu_s / pace.flow.seconds
                        shares["messages_s"] = pace.flow.waves / pace.flow.seconds
                    run.record(IDLE, name, number, params, shares)
