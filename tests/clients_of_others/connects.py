"""Count the CONNECTs of a client: a relay that reads what the server answers to each."""

import asyncio

from loadtest.frames import Frames, Opcode
from tests.harness.proxy import Relay

ANSWERS = (b"40/chat,", b"44/chat,")
"""CONNECT and CONNECT_ERROR of the namespace. The server answers each CONNECT with one of them."""


class Connects:
    """What one client did: its WebSockets, and the CONNECTs that were answered. `again` is set by the second one."""

    def __init__(self) -> None:
        self.websockets = 0
        self.answered = 0
        self.again = asyncio.Event()

    def __str__(self) -> str:
        return f"{self.websockets} WebSockets, {self.answered} answers to CONNECT"

    def relay(self) -> Relay:
        """The relay of one more WebSocket."""
        self.websockets += 1
        return _Reader(self)

    def answer(self) -> None:
        """Count one."""
        self.answered += 1
        if self.answered > 1:
            self.again.set()


class _Reader(Relay):
    def __init__(self, connects: Connects) -> None:
        self._connects = connects
        self._head = b""  # of the HTTP answer, until it is whole
        self._frames: Frames | None = None

    def from_server(self, chunk: bytes) -> bytes:
        rest = chunk
        if self._frames is None:
            self._head, end, rest = (self._head + chunk).partition(b"\r\n\r\n")
            if not end:
                return chunk
            self._frames = Frames()
        for opcode, payload in self._frames.feed(rest):
            if opcode == Opcode.TEXT and payload.startswith(ANSWERS):
                self._connects.answer()
        return chunk
