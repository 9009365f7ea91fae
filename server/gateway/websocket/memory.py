"""The bound of all bytes that wait in this process for its clients: to be written to them, and to be handled."""

import asyncio
import operator

from server.domain.values import value
from server.gateway.websocket.writable import Writable
from server.ports.metrics import Traffic

UNCOUNTED_BYTES = 2_048
"""Bytes of a client that wait to be handled and are not counted: most clients never have more, and pay nothing."""

COUNTED_FROM = 0.3
"""From this share of the bound on, `look` asks the transports: some of the bytes may have been taken since."""

STALLED_FROM = 0.35
"""From this share of the bound on, clients that stand still are dropped: those for whom much waits would else keep
newcomers out (`application.life.overload`)."""

STALLED_S = 2.0
STALLED_STEP = 32 * 1024
"""A client stands still if it takes fewer than these bytes in such a time, or if nothing of what was read of it is
handled."""

SHED_TO = 0.9
"""Over the bound, clients are dropped until this share of it is in use; else the next message would exceed the bound
again."""


@value
class _Mark:
    """How far a client was at some moment: bytes that its kernel had taken, and bytes that waited to be handled."""

    taken: int
    held: int
    at: float


class MemoryBound:
    """Counts the bytes that wait, at most `limit`. Over it, the clients are dropped for whom the most bytes wait.

    `traffic.outbound_queued_bytes` is what waits in the transports of congested clients. It is an upper bound: what the
    kernel has taken since the last look is subtracted at the next. `traffic.inbound_queued_bytes` is what has been read
    of clients, and is not handled yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, traffic: Traffic) -> None:
        self.congested: dict[Writable, None] = {}  # clients whose kernel buffer is full; a dict is an ordered set
        self._held: dict[Writable, int] = {}  # bytes that were read of each client and wait
        self._loop = loop
        self._limit = limit
        self._traffic = traffic
        self._due = False  # whether a check is due
        self._marks: dict[Writable, _Mark] = {}  # of the clients for whom bytes wait, while much of the bound is in use

    def hold(self, writer: Writable, size: int) -> None:
        """Count so many bytes more, or fewer, that were read of a client and wait."""
        self._traffic.inbound_queued_bytes += size
        held = self._held.pop(writer, 0) + size
        if held:
            self._held[writer] = held
        if size > 0 and self._is_over() and not self._due:
            self._due = True
            self._loop.call_soon(self.check)

    def look(self) -> float:
        """Count anew if much seems to wait; if much does, drop the clients that stand still. Return the part of the
        bound that is in use. Call this regularly, and as `check` between two turns' works."""
        if self._in_use() > self._limit * COUNTED_FROM:
            for writer in tuple(self.congested):
                writer.recount()
        if self._in_use() > self._limit * STALLED_FROM:
            self._drop_stalled(self._loop.time())
        else:
            self._marks = {}
        return self._in_use() / self._limit

    def _drop_stalled(self, now: float) -> None:
        before, self._marks = self._marks, {}
        for writer in self.congested | dict.fromkeys(self._held):
            mark, last = _Mark(writer.taken, self._held.get(writer, 0), now), before.get(writer)
            if last is None or mark.taken - last.taken >= STALLED_STEP or mark.held < last.held:
                self._marks[writer] = mark
            elif now - last.at < STALLED_S:
                self._marks[writer] = last
            else:
                writer.drop()

    def check(self) -> None:
        """Drop clients if too many bytes wait. It may close connections: call it between two turns' works."""
        self._due = False
        if self._is_over():
            self._shed()

    def _is_over(self) -> bool:
        return self._in_use() > self._limit

    def _in_use(self) -> int:
        return self._traffic.outbound_queued_bytes + self._traffic.inbound_queued_bytes

    def _shed(self) -> None:
        """Count the bytes that really wait to be written. If there are still too many, drop clients."""
        waiting = self._held.copy()
        for writer in self.congested:
            waiting[writer] = waiting.get(writer, 0) + writer.recount()
        if not self._is_over():
            return
        for writer, _ in sorted(waiting.items(), key=operator.itemgetter(1), reverse=True):
            writer.drop()
            if self._in_use() <= self._limit * SHED_TO:
                break
