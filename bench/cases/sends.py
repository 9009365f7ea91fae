"""Acked sends: clients with one message or several under way; at a log, an ack means that the message is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases.stands import Stands
from bench.load import Load
from bench.peers.base import Peer
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
    depth: int = 1
    """Messages that each client has under way."""
    alone: int = 0
    """Before the others one client has this many under way; 0: no such measurement."""
    half: bool = True
    """Whether half of the full load is measured too."""

    def fill(self, load: Load) -> None:
        """Let all senders in."""
        load.do("prepare", count=max(self.clients), channels=CHANNELS, join=False)
        load.do("enter")

    def crowds(self) -> list[tuple[int, int]]:
        """Return the pairs of clients and messages under way of each that are to be measured."""
        return [*([(1, self.alone)] if self.alone else []), *((clients, self.depth) for clients in self.clients)]

    def window(self, clients: int, depth: int, peer: Peer, rate: float = 0.0) -> SendWindow:
        """One measurement."""
        return SendWindow(CHANNELS, self.size, self.seconds, self.warm_s, rate, depth, clients, peer.store)


def sends(run: Run, names: Sequence[str], work: Work) -> None:
    """Each number of clients at full speed, then at half of that, in every round."""
    with Stands(run, work.fill) as stands:
        for number in range(work.rounds):
            for name in names:
                for clients, depth in work.crowds():
                    params = {"clients": clients, "depth": depth, "load": "full"}
                    with stands.attempt(CASE, name, number, params):
                        peer, load = stands.get(name)
                        most: SendFlow = load.do("sends", window=work.window(clients, depth, peer))
                        run.record(CASE, name, number, params, figures(most))
                        if work.half and clients > 1:
                            window = work.window(clients, depth, peer, most.acks / most.seconds / 2)
                            half: SendFlow = load.do("sends", window=window)
                            run.record(CASE, name, number, params | {"load": "half"}, figures(half))


def figures(flow: SendFlow) -> dict[str, float]:
    """Return the figures of a window; milliseconds are from when a send was due to its ack.

    `store_us` is the CPU time of the store's own processes for a send, if it has any.
    """
    acks = max(flow.acks, 1)
    store = {"store_us": flow.store_cpu_s / acks * 1e6} if flow.store_cpu_s else {}
    return {
        "cpu_us": flow.server_cpu_s / acks * 1e6,
        **store,
        "acks_s": flow.acks / flow.seconds,
        "p50_ms": percentile(flow.latencies, 0.5) * 1e3,
        "p99_ms": percentile(flow.latencies, 0.99) * 1e3,
        "server_share": flow.server_cpu_s / flow.seconds,
        "load_share": flow.load_cpu_s / flow.seconds,
        "lost": float(flow.lost),
    }
