"""Durable sends: clients with one message each under way; an ack means that the message is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import Load
from bench.runs import Run
from bench.sends import SendFlow, SendWindow
from bench.stats import percentile

CASE = "sends"
CHANNELS = tuple(f"room:{number}" for number in range(16))
"""The senders are spread over these; nobody is in them, so that the write side alone is measured."""


@dataclass(frozen=True, slots=True)
class Work:
    """The sends that each log is to take."""

    clients: tuple[int, ...] = (16, 64, 256)
    size: int = 64
    rounds: int = 5
    seconds: float = 1.5
    warm_s: float = 0.4


def sends(run: Run, names: Sequence[str], work: Work) -> None:
    """Each number of clients at full speed, then at half of that, in every round."""
    for number in range(work.rounds):
        for name in names:
            with run.attempt(CASE, name, number, {}), run.peer(name) as peer, run.load(peer) as load:
                entered = 0
                for clients in sorted(work.clients):
                    load.do("prepare", count=clients - entered, channels=CHANNELS, join=False, first=entered)
                    load.do("enter")
                    entered = clients
                    _measure(run, name, number, load, work, clients)


def _measure(run: Run, name: str, number: int, load: Load, work: Work, clients: int) -> None:
    window = SendWindow(CHANNELS, work.size, work.seconds, work.warm_s)
    most: SendFlow = load.do("sends", window=window)
    run.record(CASE, name, number, {"clients": clients, "load": "full"}, figures(most))
    window = SendWindow(CHANNELS, work.size, work.seconds, work.warm_s, most.acks / most.seconds / 2)
    half: SendFlow = load.do("sends", window=window)
    run.record(CASE, name, number, {"clients": clients, "load": "half"}, figures(half))


def figures(flow: SendFlow) -> dict[str, float]:
    """Return the figures of a window; milliseconds are from when a send was due to its ack."""
    acks = max(flow.acks, 1)
    return {
        "acks_s": flow.acks / flow.seconds,
        "p50_ms": percentile(flow.latencies, 0.5) * 1e3,
        "p99_ms": percentile(flow.latencies, 0.99) * 1e3,
        "cpu_us": flow.server_cpu_s / acks * 1e6,
        "server_share": flow.server_cpu_s / flow.seconds,
        "load_share": flow.load_cpu_s / flow.seconds,
        "lost": float(flow.lost),
    }
