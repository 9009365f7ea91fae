"""aiohttp's HTTP connection, read in small pieces: thousands of tiny requests, chunks or blank lines that come in one
read are not all parsed, and not all answered, in one turn of the event loop."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

PIECE_BYTES = 512
"""Bytes of an HTTP connection parsed in a turn of the event loop: at most 28 requests, about 1 ms."""

MAX_PIPELINED = 8
"""Requests of a connection that may wait for the answers to those before them. No browser, proxy or library of today
sends a request before it has the last answer."""

MAX_UNREAD_BYTES = 64 * 1024
"""Bytes of a connection that may wait to be parsed. No request of a client has a body that counts, and a client of
WebSocket waits for the 101: more is a crowd's way to fill the memory."""


@dataclass(frozen=True, slots=True)
class Portions:
    """How a connection is read: `piece` bytes are parsed in a turn, and at most `unread` wait."""

    piece: int = PIECE_BYTES
    unread: int = MAX_UNREAD_BYTES


OF_CLIENTS = Portions()
"""For connections of clients."""

OF_BACKENDS = Portions(piece=16 * 1024, unread=1024 * 1024)
"""For connections of backends, which send bodies. The event loop reads up to 256 KiB at once."""


class PiecewiseHandler(web.RequestHandler):
    """Parses a piece of each read, and the others in the next turns; meanwhile it reads nothing."""

    __slots__ = ("_at", "_portions", "_unread")

    def __init__(self, portions: Portions, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._portions = portions
        self._unread = b""  # the last read, while a part of it is not parsed
        self._at = 0  # how much of it is

    def data_received(self, data: bytes) -> None:
        """Parse the first piece. aiohttp itself calls this without data, to parse what its parser has kept."""
        waiting = len(self._unread) - self._at if self._unread else 0
        if waiting + len(data) > self._portions.unread:
            self._unread = b""
            if self.transport is not None:
                self.transport.abort()
        elif self._unread and data:  # aiohttp has resumed the transport
            self._unread = self._unread[self._at :] + data
            self._at = 0
        elif len(data) <= self._portions.piece:
            self._parse(data)
        else:
            self._unread, self._at = data, 0
            self._parse_piece()

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._messages) > MAX_PIPELINED and self.transport is not None:
            self.transport.abort()

    def _parse_piece(self) -> None:
        end = self._at + self._portions.piece
        piece = self._unread[self._at : end]
        self._at = end
        self._parse(piece)
        if self._upgraded:  # what follows is not parsed here, only kept for the WebSocket
            rest, self._unread = self._unread[end:], b""
            self._parse(rest)
        transport = self.transport
        if transport is None or transport.is_closing():
            self._unread = b""
        elif self._at < len(self._unread):
            transport.pause_reading()
            self._loop.call_soon(self._parse_piece)
        else:
            self._unread = b""
            if not (self._buffer_paused or self._reading_paused or transport.is_reading()):
                transport.resume_reading()
