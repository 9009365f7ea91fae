"""The floor of any server in Python, a protocol that reads a frame and writes a ready answer: pyfloor.py PORT.

It speaks enough of Maru's protocol for handshakes, joins and acked sends, and does none of the work: no parsing, no
token, no log, no fan-out. Answers of one turn of the loop go out together at its end, as they do in Maru.
"""

import asyncio
import sys
from typing import cast

import uvloop


def frame(payload: bytes) -> bytes:
    """A text frame of a server."""
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else bytes((0x81, 126)) + size.to_bytes(2, "big")) + payload


OPEN = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
) + frame(b'0{"sid":"x","upgrades":[],"pingInterval":600000,"pingTimeout":10000,"maxPayload":65536}')
READY = frame(b'40/chat,{"sid":"abc"}') + frame(b'42/chat,["session:ready",{}]')
JOINED = frame(b'43/chat,1[{"ok":true}]')
LEFT = frame(b'43/chat,3[{"ok":true}]')
ACK = frame(b'43/chat,2[{"ok":true,"message":{"text":"^' + b"m" * 350 + b'"},"duplicate":false}]')
"""As long as Maru's ack of a message of 64 bytes."""

ANSWERS = ((b"channel:join", JOINED), (b"channel:leave", LEFT), (b"GET ", OPEN), (b"40/chat", READY))
"""The rarer questions: a mark in the client's bytes, and the answer to all of them."""

SEND = b"message:send"


class Floor(asyncio.Protocol):
    """A connection."""

    __slots__ = ("_transport", "_turn")

    def __init__(self, turn: "Turn") -> None:
        self._turn = turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer what is in it."""
        if sends := data.count(SEND):
            self._turn.answer(self._transport, ACK * sends)
            return
        for mark, answer in ANSWERS:
            if mark in data:
                self._transport.write(answer)
                return


class Turn:
    """The answers that go out at the end of this turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def answer(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write it with those of the same turn."""
        if not self._answers:
            self._loop.call_soon(self._write)
        self._answers.append((transport, data))

    def _write(self) -> None:
        answers, self._answers = self._answers, []
        for transport, data in answers:
            transport.write(data)


async def main(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    turn = Turn(loop)
    server = await loop.create_server(lambda: Floor(turn), "127.0.0.1", port, backlog=4_096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
