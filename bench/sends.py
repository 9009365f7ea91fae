"""The load of durable sends: many clients with one message each under way, and how long each ack took."""

import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class SendFlow:
    """The counts of a window; latencies in seconds, sorted, from when a send was due to its ack."""

    acks: int
    seconds: float
    server_cpu_s: float
    load_cpu_s: float
    latencies: "array[float]"
    lost: int


def senders(
    crowd: Clients, clients: Sequence[int], frames: Sequence[bytes], window: SendWindow, pids: Sequence[int]
) -> SendFlow:
    """Run a window. Raises `LoadFailed` if acks stop."""
    traffic = _Traffic(crowd, clients, frames, window.rate)
    traffic.run(window.warm_s)
    traffic.latencies = array("d")
    began, server, load = time.perf_counter(), cpu_s(pids), time.process_time()
    traffic.run(window.seconds)
    seconds, latencies = time.perf_counter() - began, traffic.latencies
    server, load = cpu_s(pids) - server, time.process_time() - load
    traffic.finish()
    return SendFlow(len(latencies), seconds, server, load, array("d", sorted(latencies)), crowd.lost)


class _Traffic:
    """The clients that are free to send, and since when the sends of all others are due."""

    def __init__(self, crowd: Clients, clients: Sequence[int], frames: Sequence[bytes], rate: float) -> None:
        self._crowd, self._rate = crowd, rate
        self._frame = {client: frames[number % len(frames)] for number, client in enumerate(clients)}
        self._free = deque(clients)
        self._due: dict[int, float] = {}
        self._next = self._heard_at = time.perf_counter()
        self.latencies = array("d")
        crowd.taken = self._acked

    def run(self, seconds: float) -> None:
        """Send and take acks for a while."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            self._send_what_is_due(now)
            if self._rate and self._free:
                self._crowd.wait(max(0.0, self._next - time.perf_counter()))
            else:
                self._crowd.pump(0.1)
            if now - self._heard_at > STALLED_S and self._due:
                raise LoadFailed(f"no ack for {STALLED_S:.0f} s; {self._crowd.lost} connections lost")

    def finish(self) -> None:
        """Take the acks that are still to come."""
        end = time.perf_counter() + STALLED_S
        while self._due and time.perf_counter() < end:
            self._crowd.pump(0.1)
        self._crowd.taken = lambda *_: None
        if self._due:
            raise LoadFailed(f"{len(self._due)} sends were never acked; {self._crowd.lost} connections lost")

    def _send_what_is_due(self, now: float) -> None:
        while self._free and (not self._rate or self._next <= now):
            client = self._free.popleft()
            self._due[client] = self._next if self._rate else time.perf_counter()
            self._next += 1 / self._rate if self._rate else 0.0
            self._crowd.say(client, self._frame[client])

    def _acked(self, client: int, markers: int, _: int) -> None:
        """An ack holds the message, and with it the marker."""
        if not markers or client not in self._due:
            return
        self._heard_at = time.perf_counter()
        self.latencies.append(self._heard_at - self._due.pop(client))
        self._free.append(client)
