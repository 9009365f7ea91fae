"""The writing half of a connection: frames go straight to the kernel, or wait in the transport, counted and bounded."""

import asyncio
import contextlib
from typing import Protocol

from server.domain.outcomes import CloseReason
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.writable import flush_all, send_to_all

MAX_OUTBOUND = 1 << 20
"""Bytes that may wait for a client that does not read, beside large answers that it has asked for (P8). Over it the
connection is closed as slow."""

FLUSH_WAIT_S = 10.0
FLUSH_STEP = 64 * 1024
"""A client that is waited for must take this many bytes in each such time, or half of those that wait. A bad
mobile link does; a client that does not is slow."""

LARGE_ANSWER_BYTES = 64 * 1024
"""Answers that have such a size together are sent at once, and the client's next command waits until the client has
taken them."""


class Owner(Protocol):
    """The connection that a writer belongs to."""

    def give_up(self, cause: CloseReason) -> None:
        """End the connection: too much waits for the client (`SLOW_READER`), or for all clients (`MEMORY_CAP`)."""


class Writer:
    """Writes whole frames to a client. The `Outbox` calls it at the end of a turn of the event loop."""

    __slots__ = {
        "_asked": "Bytes of large answers that the client has asked for, since writing was last not paused.",
        "_backlog": "Bytes in the transport's buffer, an upper bound; -1 while writing is not paused.",
        "_flushed": "Done when the kernel has taken everything, or writing ends; None if nothing waits for that.",
        "_given": "Bytes that the transport has put into its buffer, in all.",
        "_open": "Whether frames are accepted.",
        "_outbox": "Knows all congested writers, and how much waits in their transports.",
        "_owner": "The connection.",
        "_socket": "The socket's descriptor. It is valid until `connection_lost`, on asyncio's loop and on uvloop.",
        "_transport": "Where bytes go that the kernel does not take.",
        "_unsent_before": "Bytes that waited when `has_progressed` was last called.",
        "descriptor": "The socket's, while bytes may go to the kernel directly; else -1.",
        "queued": "Whole frames that are to be written at the end of this turn, in order.",
    }

    def __init__(self, transport: asyncio.Transport, outbox: Outbox, owner: Owner) -> None:
        # With a limit of 0 the transport calls `pause_writing` as soon as a byte waits in its buffer, because the
        # kernel's is full, and `resume_writing` when its buffer is empty.
        transport.set_write_buffer_limits(high=0)
        self._transport = transport
        self._outbox = outbox
        self._owner: Owner = owner
        self._socket: int = transport.get_extra_info("socket").fileno()
        self.descriptor = self._socket
        self._backlog = -1
        self._given = self._unsent_before = self._asked = 0
        self._flushed: asyncio.Future[None] | None = None
        self._open = True
        self.queued: bytes | list[bytes] | None = None

    @property
    def congested(self) -> bool:
        """Whether the kernel's buffer is full."""
        return self._backlog >= 0

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._transport.get_write_buffer_size() if self._backlog >= 0 else 0

    @property
    def taken(self) -> int:
        """Bytes of those that once waited in the transport that the kernel has taken."""
        return self._given - self.unsent

    def has_progressed(self) -> bool:
        """Say whether less waits for the client than at the last call."""
        before, self._unsent_before = self._unsent_before, self.unsent
        return self._unsent_before < before

    # Writing

    def flush(self) -> int:
        """Send the queued frames; return how many bytes."""
        return flush_all((self,))

    def send_now(self, data: bytes) -> int:
        """Send whole frames, if nothing is queued; return how many bytes were accepted."""
        return send_to_all((self,), data)

    def send_rest(self, data: bytes, taken: int) -> int:
        """Send the rest of whole frames, of which the kernel has taken some bytes, or give the client up if too much
        waits for it. Return how many bytes of all were accepted.

        The transport gets the bytes that the kernel does not take, and all of them after an error, which it then meets
        itself.
        """
        if not self._open:
            return 0
        size = len(data)
        if self._backlog < 0:
            self._given += size - taken
            self._transport.write(data[taken:])
            return size
        self._count(self._backlog + size)
        if self._backlog > MAX_OUTBOUND + self._asked and self._is_slow(size):
            self._too_slow()
            return 0
        self._given += size
        self._transport.write(data)
        return size

    def flush_now(self) -> None:
        """Send what is queued, and the open batch, before the turn ends: what is written next goes past the outbox."""
        self._outbox.end_batch()
        self._outbox.traffic.sent_bytes += self.flush()

    def flush_large(self) -> None:
        """Send what is queued now, after a command, if it is large. Then `congested` tells whether the client has taken
        it: several pages that a client asks for at once are sent in turn.

        It is large only by what the client has asked for, so it does not make a slow reader: the client's next command
        waits until all of it is taken, and a client that takes nothing is given up then.
        """
        queued = self.queued
        if queued is None:
            return
        size = sum(map(len, queued)) if isinstance(queued, list) else len(queued)
        if size >= LARGE_ANSWER_BYTES:
            self._asked += size
            self.flush_now()
            self._asked *= self.congested

    async def flushed(self) -> None:
        """Wait until the kernel has taken what has been written, or writing has ended. Give up a client that takes too
        little of it."""
        self.flush_now()
        if self._backlog < 0:
            return
        if self._flushed is None:
            self._flushed = asyncio.get_running_loop().create_future()
        flushed = self._flushed
        while not flushed.done():
            before, given = self.unsent, self._given
            await asyncio.wait((flushed,), timeout=FLUSH_WAIT_S)
            taken = before + self._given - given - self.unsent
            if not flushed.done() and taken < min(FLUSH_STEP, before // 2):
                self._too_slow()
                return

    # Bytes that wait in the transport

    def start(self) -> None:
        """Begin as the half of the transport's protocol: bytes written before may still be on their way."""
        if self._transport.get_write_buffer_size():
            self.pause()

    def pause(self) -> None:
        """Begin to count: the kernel's buffer is full."""
        self.descriptor = -1
        self._outbox.congested[self] = None
        self.recount()

    def resume(self) -> None:
        """Stop counting: the kernel has taken everything."""
        self._uncount()
        self._wake()
        if self._open:
            self.descriptor = self._socket

    def recount(self) -> int:
        """Ask the transport how many bytes wait in it, and return that number."""
        waiting = self._transport.get_write_buffer_size()
        self._count(waiting)
        return waiting

    def drop(self) -> None:
        """Give the client up: the process needs the memory."""
        self._owner.give_up(CloseReason.MEMORY_CAP)

    def _is_slow(self, size: int) -> bool:
        """Return whether too much waits before these many bytes: the count includes what has been sent since."""
        waiting = self.recount()
        if waiting + size > MAX_OUTBOUND + self._asked:
            return True
        self._count(waiting + size)
        return False

    def _too_slow(self) -> None:
        self.queued = None
        self._owner.give_up(CloseReason.SLOW_READER)

    def _count(self, waiting: int) -> None:
        self._outbox.traffic.outbound_queued_bytes += waiting - max(self._backlog, 0)
        self._backlog = waiting

    def _uncount(self) -> None:
        if self._backlog >= 0:
            self._count(0)
            self._backlog, self._asked = -1, 0
            del self._outbox.congested[self]

    def _wake(self) -> None:
        if self._flushed is not None:
            self._flushed.set_result(None)
            self._flushed = None

    # Ending

    def finish(self, last: bytes) -> None:
        """Write a last frame, and accept no more. Call `flush_now` before: queued frames are never written."""
        self.refuse()
        if not self._transport.is_closing():
            self._transport.write(last)

    def finish_stream(self) -> None:
        """Accept no more, and end the server's side of TCP behind what is written. Call `flush_now` before."""
        self.refuse()
        if not self._transport.is_closing():
            with contextlib.suppress(OSError):  # the peer has reset the connection
                self._transport.write_eof()

    def stop(self) -> None:
        """Drop the queued frames, count nothing and let nobody wait: the transport is lost, or is being aborted."""
        self.refuse()
        self.queued = None
        self._uncount()
        self._wake()
        self._owner = _NOBODY  # else the connection and this object would wait for the garbage collector

    def refuse(self) -> None:
        """Accept no more frames."""
        self._open, self.descriptor = False, -1


class _Nobody:
    def give_up(self, cause: CloseReason) -> None:
        pass


_NOBODY = _Nobody()
