"""A crowd of clients in one process of its own: each connects, is admitted by its token, joins a channel, and stays.

    python -m bench.crowd PORT SECRET

Then, on standard input: `open COUNT`, `close`; each is answered by a line of JSON.

Every step waits for the server's answer, as real clients do; `IN_FLIGHT` clients are in one of the steps at a time.
"""

import asyncio
import json
import struct
import sys
import time
from typing import cast

import jwt
import uvloop

IN_FLIGHT = 64
DEADLINE_S = 60.0

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(text: str) -> bytes:
    """One text frame, masked with zeros: the cheapest that a server must take."""
    payload = text.encode()
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + b"\0\0\0\0" + payload


JOIN = frame('42/chat,1["channel:join",{"channel":"room:mem"}]')
PONG = frame("3")
PING = b"\x81\x012"

STEPS = ((b'"maxPayload"', None), (b'"session:ready"', JOIN), (b"43/chat,1[", b""))
"""What is waited for, and what is sent then; None stands for the client's own CONNECT."""


class Client(asyncio.Protocol):
    """One client; `joined` is done when it is in the channel, `gone` when its connection has ended."""

    def __init__(self, token: str) -> None:
        loop = asyncio.get_running_loop()
        self._token = token
        self._step = 0
        self.transport: asyncio.Transport | None = None
        self.joined: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Take the next step, or answer a ping."""
        assert self.transport is not None
        while self._step < len(STEPS) and STEPS[self._step][0] in data:
            answer = STEPS[self._step][1]
            self.transport.write(frame(f'40/chat,{{"token":"{self._token}"}}') if answer is None else answer)
            self._step += 1
            if self._step == len(STEPS):
                self.joined.set_result(None)
        if PING in data:
            self.transport.write(PONG)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        if not self.joined.done():
            self.joined.set_exception(exc or ConnectionResetError("closed before it had joined"))
        self.gone.set_result(None)


async def grow(clients: list[Client], port: int, tokens: list[str]) -> float:
    """Bring in a client for each token; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def enter(token: str) -> None:
        async with slots:
            _, client = await loop.create_connection(lambda: Client(token), "127.0.0.1", port)
            await client.joined
            clients.append(client)

    began = time.perf_counter()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*map(enter, tokens))
    return time.perf_counter() - began


async def serve(port: int, secret: str) -> None:
    """Do what standard input says, until it ends."""
    clients: list[Client] = []
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *rest = line.split()
        took = 0.0
        if verb == "open":
            tokens = [mint(secret, f"user-{number}") for number in range(int(rest[0]))]
            took = await grow(clients, port, tokens)
        else:
            for client in clients:
                assert client.transport is not None
                client.transport.abort()
            await asyncio.gather(*(client.gone for client in clients))
            clients.clear()
        print(json.dumps({"seconds": took}), flush=True)


def mint(secret: str, user: str) -> str:
    """A token that lets its user into every room."""
    claims = {"sub": user, "name": user, "exp": int(time.time()) + 3_600, "channels": {"room:*": ["join", "send"]}}
    return jwt.encode(claims, secret, algorithm="HS256")


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
