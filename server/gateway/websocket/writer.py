"""The writing half of a connection: one write a turn of the loop, straight to the kernel, counted and bounded."""

import asyncio
import os
from abc import abstractmethod
from enum import IntEnum

from server.domain.outcomes import CloseReason
from server.gateway.websocket.frames import CloseCode
from server.gateway.websocket.outbox import Outbox

MAX_OUTBOUND = 1 << 20
"""Bytes that may wait for a client that does not read (P8); over it the connection is closed as slow."""

FLUSH_WAIT_S = 10.0
FLUSH_STEP = 64 * 1024
"""A client that is waited for takes so many bytes in each such time, or half of what waits where that is less: a bad
mobile link does; else it is slow."""

LARGE_ANSWER_BYTES = 64 * 1024
"""An answer of such a size is sent at once, and the client's next command waits until the client has taken it."""


class State(IntEnum):
    """How far a connection is. It only grows."""

    OPEN = 0
    CLOSING = 1  # a close frame is written; only the peer's is still listened for
    DEAF = 2  # as CLOSING, but the peer's frames can't be read any more
    CLOSED = 3


class WritingHalf(asyncio.Protocol):
    """Owns the transport and the connection's state. `queued` is what waits for the end of the turn (`Outbox`)."""

    __slots__ = ("_backlog", "_descriptor", "_flushed", "_given", "_outbox", "_state", "_transport", "queued")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        # From the first byte that the kernel does not take until the last is taken, this side is told: `_backlog`.
        transport.set_write_buffer_limits(high=0)
        self._descriptor: int = transport.get_extra_info("socket").fileno()
        self._backlog = -1
        self._given = 0  # bytes that the transport has been given to keep, in all
        self._flushed: asyncio.Future[None] | None = None
        self._state = State.OPEN
        self.queued: bytes | list[bytes] | None = None

    @abstractmethod
    def close(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        """Write a close frame and wait a while for the peer's, then abort."""

    @abstractmethod
    def abort(self, cause: CloseReason, reason: str) -> None:
        """Drop the connection at once."""

    @abstractmethod
    def drop_mailbox(self) -> None:
        """Handle no further packets."""

    @property
    def closed(self) -> bool:
        """Whether the transport is gone."""
        return self._state is State.CLOSED

    @property
    def congested(self) -> bool:
        """Whether the kernel takes no more for now."""
        return self._backlog >= 0

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._transport.get_write_buffer_size() if self._backlog >= 0 else 0

    def is_open(self) -> bool:
        """Whether the connection takes part: neither closing nor closed."""
        return self._state is State.OPEN

    def write(self, data: bytes) -> None:
        """Write whole frames at the end of this turn of the loop."""
        if self._state is State.OPEN:
            self._outbox.write_one(self, data)

    def flush(self) -> int:
        """Send what is queued; return its bytes."""
        queued, self.queued = self.queued, None
        if queued is None:
            return 0
        return self.send_now(b"".join(queued) if isinstance(queued, list) else queued)

    def send_now(self, data: bytes) -> int:
        """Send whole frames, or close a connection that has let too much pile up; return the bytes that were taken.

        Where nothing waits before them they go to the kernel directly: a transport's own way there costs half as much
        again as the system call. What the kernel does not take, and any error, is the transport's. The descriptor is
        ours until `connection_lost`, on either loop.
        """
        if self._state is not State.OPEN:
            return 0
        size = len(data)
        if self._backlog < 0:
            try:
                sent = os.write(self._descriptor, data)
            except OSError:
                sent = 0
            if sent < size:
                self._given += size - sent
                self._transport.write(data[sent:])
            return size
        self._count(self._backlog + size)
        if self._backlog > MAX_OUTBOUND and self._is_slow(size):
            self._cut_slow()
            return 0
        self._given += size
        self._transport.write(data)
        return size

    def _flush_now(self) -> None:
        """As `flush`, with what stands in an open batch: what comes next goes to the transport directly."""
        self._outbox.end_batch()
        self._outbox.traffic.sent_bytes += self.flush()

    def flush_large(self) -> None:
        """Send the queue now if its last part is large, so that `congested` tells whether the client has taken it: a
        client that asks for several pages at once is given one after another."""
        queued = self.queued
        if queued is not None and len(queued[-1] if isinstance(queued, list) else queued) >= LARGE_ANSWER_BYTES:
            self._flush_now()

    def _is_slow(self, size: int) -> bool:
        """Look at what really waits before these many bytes: the count includes what has been sent since."""
        waiting = self.recount()
        if waiting + size > MAX_OUTBOUND:
            return True
        self._count(waiting + size)
        return False

    def _cut_slow(self) -> None:
        self.queued = None
        self.drop_mailbox()
        self.close(CloseCode.TRY_AGAIN_LATER, CloseReason.SLOW_READER, "slow reader")

    def drop(self) -> None:
        """Drop the connection with all that waits for it: the process needs the memory now, and no close frame could
        overtake what waits."""
        self.abort(CloseReason.MEMORY_CAP, "outbound memory")

    def recount(self) -> int:
        """How many bytes wait in the transport, looked at now."""
        waiting = self._transport.get_write_buffer_size()
        self._count(waiting)
        return waiting

    def _count(self, waiting: int) -> None:
        self._outbox.traffic.outbound_queued_bytes += waiting - max(self._backlog, 0)
        self._backlog = waiting

    def start(self) -> None:
        """Begin, as the transport's protocol: what was written before may still be on its way."""
        if self._transport.get_write_buffer_size():
            self.pause_writing()

    def pause_writing(self) -> None:
        """Begin to count: the kernel takes no more for now."""
        self._outbox.congested[self] = None
        self.recount()

    def resume_writing(self) -> None:
        """Stop counting: the kernel keeps up again."""
        self._uncount()
        self._wake()

    def _uncount(self) -> None:
        if self._backlog >= 0:
            self._count(0)
            self._backlog = -1
            del self._outbox.congested[self]

    async def flushed(self) -> None:
        """Wait until little of what has been written still waits for the client, or the connection is lost; close one
        that takes too long."""
        self._flush_now()
        if self._backlog < 0 or self.closed:
            return
        if self._flushed is None:
            self._flushed = asyncio.get_running_loop().create_future()
        flushed = self._flushed
        while not flushed.done():
            before, given = self.unsent, self._given
            await asyncio.wait((flushed,), timeout=FLUSH_WAIT_S)
            taken = before + self._given - given - self.unsent
            if not flushed.done() and taken < min(FLUSH_STEP, before // 2):
                self._cut_slow()
                return

    def _forget(self) -> None:
        """Drop what is queued, count and wait no more: the transport is gone, or as good as gone."""
        self.queued = None
        self._uncount()
        self._wake()

    def _wake(self) -> None:
        if self._flushed is not None:
            self._flushed.set_result(None)
            self._flushed = None
