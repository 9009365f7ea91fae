"""Fan-out: one message to everybody in a channel, peers in turn, round after round."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.fanout import Flow, Pace, Window
from bench.load import Load
from bench.peers.base import Peer
from bench.runs import Run
from bench.stats import percentile

CASE = "fanout"
LATENCY = "latency"
MEMBERS, SIZES, CHANNELS = "members", "sizes", "channels"
"""Fan-outs that differ in one thing, to see how the cost grows with it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of each peer."""

    members: int = 1_000
    in_flight: tuple[int, ...] = (1, 32)
    size: int = 64
    channels: int = 1
    """The members are spread over so many; a wave is one message to each."""
    senders: int = 1
    rounds: int = 5
    seconds: float = 1.0
    warm_s: float = 0.3

    def names(self) -> tuple[str, ...]:
        """The channels."""
        return tuple(f"room:{number}" for number in range(self.channels))

    def window(self, pids: Sequence[int], in_flight: int) -> Window:
        """One measurement."""
        return Window(self.names(), self.size, in_flight, self.seconds, self.warm_s, tuple(pids), self.senders)

    def params(self, in_flight: int) -> dict[str, int]:
        """What tells one result from another."""
        return {
            "members": self.members,
            "in_flight": in_flight,
            "size": self.size,
            "channels": self.channels,
            "senders": self.senders,
        }


@dataclass(frozen=True, slots=True)
class Stand:
    """A started peer with its clients."""

    peer: Peer
    load: Load


@contextlib.contextmanager
def stands(run: Run, names: Sequence[str], work: Work, case: str) -> Iterator[list[Stand]]:
    """Start all peers and let their members in; one that can't is reported. Idle ones cost a heartbeat only."""
    with contextlib.ExitStack() as stack:
        started: list[Stand] = []
        for name in names:
            with run.attempt(case, name, 0, work.params(0)):
                peer = stack.enter_context(run.peer(name, work.size))
                load = stack.enter_context(run.load(peer))
                load.do("prepare", count=work.members, channels=work.names(), join=True)
                load.do("enter")
                started.append(Stand(peer, load))
        yield started


def fanout(run: Run, names: Sequence[str], work: Work, case: str = CASE) -> None:
    """Measure every peer in every round, in turn: what slows the machine for a while slows all of them."""
    with stands(run, names, work, case) as started:
        for number in range(work.rounds):
            for stand in started:
                for in_flight in work.in_flight:
                    params = work.params(in_flight)
                    with run.attempt(case, stand.peer.name, number, params):
                        flow: Flow = stand.load.do("fanout", window=work.window(stand.peer.pids(), in_flight))
                        run.record(case, stand.peer.name, number, params, figures(flow))


def members(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """How the cost grows with the members of a channel."""
    for count in counts:
        fanout(run, names, Work(members=count, in_flight=(1,), rounds=rounds, seconds=seconds), MEMBERS)


def sizes(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """How it grows with the bytes of a message."""
    for size in counts:
        fanout(run, names, Work(size=size, in_flight=(1,), rounds=rounds, seconds=seconds), SIZES)


def channels(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """How it grows with the channels that the same members are spread over."""
    for count in counts:
        fanout(run, names, Work(channels=count, in_flight=(1,), rounds=rounds, seconds=seconds), CHANNELS)


def figures(flow: Flow) -> dict[str, float]:
    """What a window says. `cpu_us` is the server's time, user and system, for one delivery, `wave_us` for one wave."""
    deliveries = max(flow.deliveries, 1)
    return {
        "deliveries_s": flow.deliveries / flow.seconds,
        "wave_us": flow.server_cpu_s / max(flow.waves, 1) * 1e6,
        "cpu_us": flow.server_cpu_s / deliveries * 1e6,
        "server_share": flow.server_cpu_s / flow.seconds,
        "load_share": flow.load_cpu_s / flow.seconds,
        "frame_bytes": flow.received_bytes / deliveries,
        "lost": float(flow.lost),
    }


def latency(run: Run, names: Sequence[str], work: Work, share: float = 0.5, fixed: float = 10_000.0) -> None:
    """How long a delivery takes at half of what each peer can do, and at one rate that every peer can do.

    `fixed` is deliveries a second. What a peer can do is measured in the same round, with one message in flight.
    """
    with stands(run, names, work, LATENCY) as started:
        for number in range(work.rounds):
            for stand in started:
                with run.attempt(LATENCY, stand.peer.name, number, {"members": work.members}):
                    window = work.window(stand.peer.pids(), 1)
                    most: Flow = stand.load.do("fanout", window=window)
                    for load, waves_s in (("half", share * most.waves / most.seconds), ("same", fixed / work.members)):
                        params = {"members": work.members, "load": load}
                        pace: Pace = stand.load.do("latency", window=window, waves_s=waves_s)
                        run.record(LATENCY, stand.peer.name, number, params, latencies(pace))


def latencies(pace: Pace) -> dict[str, float]:
    """Milliseconds from when a message was due to when a member had it."""
    ordered = pace.latencies
    return {
        "p50_ms": percentile(ordered, 0.5) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
        "p999_ms": percentile(ordered, 0.999) * 1e3,
    } | {name: value for name, value in figures(pace.flow).items() if name in {"deliveries_s", "cpu_us", "lost"}}
