"""Fan-out: one message to everybody in a channel, peers in turn, round after round."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases.stands import Stands
from bench.fanout import Flow, Pace, Window
from bench.load import Load
from bench.runs import Run
from bench.stats import percentile

CASE = "fanout"
LATENCY = "latency"
MEMBERS, SIZES, CHANNELS = "members", "sizes", "channels"
"""Fan-outs that differ in one thing, to see how the cost grows with it."""
SMALL, DIRECT = "small", "direct"
"""Channels of a few members, and many channels of one member or two: direct messages."""

DIRECT_CHANNELS = 1_000


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

    def fill(self, load: Load) -> None:
        """Let all members in."""
        load.do("prepare", count=self.members, channels=self.names(), join=True)
        load.do("enter")

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


def fanout(run: Run, names: Sequence[str], work: Work, case: str = CASE) -> None:
    """Measure every peer in every round, in turn: if something slows the machine for a while, it slows all of them."""
    with Stands(run, work.fill, work.size) as stands:
        for number in range(work.rounds):
            for name in names:
                for in_flight, senders in work.flights():
                    params = work.params(in_flight, senders)
                    with stands.attempt(case, name, number, params):
                        peer, load = stands.get(name)
                        flow: Flow = load.do("fanout", window=work.window(peer.pids(), in_flight, senders))
                        run.record(case, name, number, params, figures(flow, work.channels))


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


def small(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """Measure channels of a few members, with one message under way and with 32."""
    for count in counts:
        fanout(run, names, Work(members=count, in_flight=(1, 32), rounds=rounds, seconds=seconds, warm_s=0.2), SMALL)


def direct(run: Run, names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> None:
    """Measure a thousand channels of one member (or some), and a message to each."""
    for count in counts:
        members, channels = DIRECT_CHANNELS * count, DIRECT_CHANNELS
        fanout(run, names, Work(members, (1,), channels=channels, rounds=rounds, seconds=seconds, warm_s=0.2), DIRECT)


def figures(flow: Flow, channels: int = 1) -> dict[str, float]:
    """Return the figures of a window: the server's CPU time for a delivery, for a wave, and for one message of it."""
    deliveries = max(flow.deliveries, 1)
    wave_us = flow.server_cpu_s / max(flow.waves, 1) * 1e6
    return {
        "cpu_us": flow.server_cpu_s / deliveries * 1e6,
        "message_us": wave_us / channels,
        "wave_us": wave_us,
        "deliveries_s": flow.deliveries / flow.seconds,
        "server_share": flow.server_cpu_s / flow.seconds,
        "load_share": flow.load_cpu_s / flow.seconds,
        "frame_bytes": flow.received_bytes / deliveries,
        "lost": float(flow.lost),
    }


def latency(run: Run, names: Sequence[str], work: Work, share: float = 0.5, fixed: float = 10_000.0) -> None:
    """How long a delivery takes at half of what each peer can do, and at one rate that every peer can do.

    `fixed` is deliveries a second. What a peer can do is measured in the same round, with one message in flight.
    """
    with Stands(run, work.fill, work.size) as stands:
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
