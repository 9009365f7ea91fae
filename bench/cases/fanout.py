"""Fan-out: one message to everybody in a channel, peers in turn, round after round."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.fanout import Flow, Pace, Window
from bench.load import Load
from bench.peers.base import Peer
from bench.processes import NotAvailable
from bench.runs import Run
from bench.stats import percentile

CASE = "fanout"
LATENCY = "latency"
MEMBERS, SIZES, CHANNELS = "members", "sizes", "channels"
"""Fan-outs that differ in one thing, to see how the cost grows with it."""


@dataclass(frozen=True, slots=True)
class Work:
    """The fan-outs that each peer is to do."""

    members: int = 1_000
    in_flight: tuple[int, ...] = (1, 32)
    size: int = 64
    channels: int = 1
    """The channels that the members are spread over; a wave is one message to each channel."""
    senders: tuple[int, ...] = (1,)
    """Clients that send in turn, never more than messages in flight."""
    rounds: int = 5
    seconds: float = 1.0
    warm_s: float = 0.3

    def names(self) -> tuple[str, ...]:
        """The channels."""
        return tuple(f"room:{number}" for number in range(self.channels))

    def flights(self) -> list[tuple[int, int]]:
        """Return the pairs of messages in flight and senders that are to be measured."""
        return [(depth, senders) for depth in self.in_flight for senders in self.senders if senders <= depth]

    def window(self, pids: Sequence[int], in_flight: int, senders: int = 1) -> Window:
        """One measurement."""
        return Window(self.names(), self.size, in_flight, self.seconds, self.warm_s, tuple(pids), senders)

    def params(self, in_flight: int, senders: int = 1) -> dict[str, int]:
        """Return the parameters that tell one result from another."""
        return {
            "members": self.members,
            "in_flight": in_flight,
            "size": self.size,
            "channels": self.channels,
            "senders": senders,
        }


class Stands:
    """Started peers with their clients. Idle ones cost a heartbeat only. Use as a context manager."""

    def __init__(self, run: Run, work: Work) -> None:
        self._run, self._work = run, work
        self._absent: dict[str, NotAvailable] = {}
        self._open: dict[str, tuple[Peer, Load, contextlib.ExitStack]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._open):
            self.close(name)

    def get(self, name: str) -> tuple[Peer, Load]:
        """A peer with all its members in. Raises `NotAvailable`, `LoadFailed`."""
        if name in self._absent:
            raise self._absent[name]
        if name not in self._open:
            try:
                self._open[name] = self._start(name)
            except NotAvailable as error:
                self._absent[name] = error
                raise
        peer, load, _ = self._open[name]
        return peer, load

    def _start(self, name: str) -> tuple[Peer, Load, contextlib.ExitStack]:
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(self._run.peer(name, self._work.size))
            load = stack.enter_context(self._run.load(peer))
            load.do("prepare", count=self._work.members, channels=self._work.names(), join=True)
            load.do("enter")
            return peer, load, stack.pop_all()

    def close(self, name: str) -> None:
        """End a peer if it runs; `get` starts it again."""
        if name in self._open:
            self._open.pop(name)[2].close()

    @contextlib.contextmanager
    def attempt(self, case: str, name: str, number: int, params: dict[str, Any]) -> Iterator[None]:
        """Report a failure, and end its peer: members may be lost, so the next measurement starts the peer again."""
        done = False
        with self._run.attempt(case, name, number, params):
            yield
            done = True
        if not done:
            self.close(name)


def fanout(run: Run, names: Sequence[str], work: Work, case: str = CASE) -> None:
    """Measure every peer in every round, in turn: if something slows the machine for a while, it slows all of them."""
    with Stands(run, work) as stands:
        for number in range(work.rounds):
            for name in names:
                for in_flight, senders in work.flights():
                    params = work.params(in_flight, senders)
                    with stands.attempt(case, name, number, params):
                        peer, load = stands.get(name)
                        flow: Flow = load.do("fanout", window=work.window(peer.pids(), in_flight, senders))
                        run.record(case, name, number, params, figures(flow))


def members(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """Measure how the cost grows with the members of a channel."""
    for count in counts:
        fanout(run, names, Work(members=count, in_flight=(1,), rounds=rounds, seconds=seconds), MEMBERS)


def sizes(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """Measure how the cost grows with the bytes of a message."""
    for size in counts:
        fanout(run, names, Work(size=size, in_flight=(1,), rounds=rounds, seconds=seconds), SIZES)


def channels(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """Measure how the cost grows with the channels that the same members are spread over."""
    for count in counts:
        fanout(run, names, Work(channels=count, in_flight=(1,), rounds=rounds, seconds=seconds), CHANNELS)


def figures(flow: Flow) -> dict[str, float]:
    """Return the figures of a window. `cpu_us` is the server's CPU time for a delivery, `wave_us` that for a wave."""
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
    with Stands(run, work) as stands:
        for number in range(work.rounds):
            for name in names:
                with stands.attempt(LATENCY, name, number, {"members": work.members}):
                    peer, load = stands.get(name)
                    window = work.window(peer.pids(), 1)
                    most: Flow = load.do("fanout", window=window)
                    rates = {"same": fixed / work.members, "half": share * most.waves / most.seconds}
                    for rate, waves_s in rates.items():
                        pace: Pace = load.do("latency", window=window, waves_s=waves_s)
                        run.record(LATENCY, name, number, {"members": work.members, "load": rate}, latencies(pace))


def latencies(pace: Pace) -> dict[str, float]:
    """Milliseconds from when a message was due to when a member had it."""
    ordered = pace.latencies
    return {
        "p50_ms": percentile(ordered, 0.5) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
        "p999_ms": percentile(ordered, 0.999) * 1e3,
    } | {name: value for name, value in figures(pace.flow).items() if name in {"deliveries_s", "cpu_us", "lost"}}
