"""The load of acked sends: clients with one message or several under way, and how long each ack took."""

import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from bench.clients import Clients
from bench.processes import LoadFailed, cpu_s

STALLED_S = 10.0


@dataclass(frozen=True, slots=True)
class SendWindow:
    """`rate` is messages a second over all clients; 0 is as fast as the acks come."""

    channels: tuple[str, ...]
    size: int
    seconds: float
    warm_s: float
    rate: float = 0.0
    depth: int = 1
    """Messages that each client has under way at most."""
    senders: int = 0
    """So many of the clients send; 0: all."""
    store_pids: tuple[int, ...] = ()
    """The processes of a store behind the server, whose time is taken too."""


@dataclass(frozen=True, slots=True)
class SendFlow:
    """The counts of a window; latencies in seconds, sorted, from when a send was due to its ack."""

    acks: int
    seconds: float
    server_cpu_s: float
    load_cpu_s: float
    latencies: "array[float]"
    lost: int
    store_cpu_s: float = 0.0
    sent: int = 0
    """All messages of the order, also those before and after the window; each was acked."""


def senders(
    crowd: Clients, clients: Sequence[int], frames: Sequence[bytes], window: SendWindow, pids: Sequence[int]
) -> SendFlow:
    """Run a window. Raises `LoadFailed` if acks stop."""
    traffic = _Traffic(crowd, clients, frames, window.rate, window.depth)
    traffic.run(window.warm_s)
    traffic.latencies = array("d")
    began, server, store, load = time.perf_counter(), cpu_s(pids), cpu_s(window.store_pids), time.process_time()
    traffic.run(window.seconds)
    seconds, latencies = time.perf_counter() - began, array("d", sorted(traffic.latencies))
    server, store, load = cpu_s(pids) - server, cpu_s(window.store_pids) - store, time.process_time() - load
    traffic.finish()
    return SendFlow(len(latencies), seconds, server, load, latencies, crowd.lost, store, traffic.sent)


class _Traffic:
    """The clients that are free to send, and since when the sends under way are due."""

    def __init__(
        self, crowd: Clients, clients: Sequence[int], frames: Sequence[bytes], rate: float, depth: int
    ) -> None:
        self._crowd, self._rate = crowd, rate
        self._frame = dict(zip(clients, cycle(frames), strict=False))
        self._free = deque(list(clients) * depth)
        """A client stands here once for each message that it may send now."""
        self._due: dict[int, deque[float]] = {client: deque() for client in clients}
        self._under_way = 0
        self.sent = 0
        self._next = self._heard_at = time.perf_counter()
        self.latencies = array("d")
        crowd.taken = self._acked

    def run(self, seconds: float) -> None:
        """Send and take acks for a while, and until an ack has come."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end or not self.latencies:
            self._send_what_is_due(now)
            if self._rate and self._free:
                self._crowd.wait(max(0.0, self._next - time.perf_counter()))
            else:
                self._crowd.pump(0.1)
            if now - self._heard_at > STALLED_S and self._under_way:
                raise LoadFailed(f"no ack for {STALLED_S:.0f} s; {self._crowd.lost} connections lost")

    def finish(self) -> None:
        """Take the acks that are still to come."""
        end = time.perf_counter() + STALLED_S
        while self._under_way and time.perf_counter() < end:
            self._crowd.pump(0.1)
        self._crowd.taken = lambda *_: None
        if self._under_way:
            raise LoadFailed(f"{self._under_way} sends were never acked; {self._crowd.lost} connections lost")

    def _send_what_is_due(self, now: float) -> None:
        """Send; the messages of a client that are due together go in one piece, as its socket would do it."""
        ready: dict[int, bytes] = {}
        while self._free and (not self._rate or self._next <= now):
            client = self._free.popleft()
            self._due[client].append(self._next if self._rate else now)
            self._next += 1 / self._rate if self._rate else 0.0
            self.sent += 1
            self._under_way += 1
            ready[client] = ready.get(client, b"") + self._frame[client]
        for client, data in ready.items():
            self._crowd.say(client, data)

    def _acked(self, client: int, marks: int, _: int) -> None:
        """Each mark is the ack of the client's oldest message under way: acks come in order."""
        due = self._due.get(client)
        if not marks or not due:
            return
        self._heard_at = time.perf_counter()
        for _ in range(min(marks, len(due))):
            self.latencies.append(self._heard_at - due.popleft())
            self._under_way -= 1
            self._free.append(client)
