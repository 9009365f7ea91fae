"""The Python bot moves when its server stops, also where it is told before it has its session."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager

import pytest
from aiohttp import web

from maru_bot.bot import MaruBot
from tests.clients.bot import HASTE
from tests.e2e.python_bot.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOVE_S = 5.0
"""Less than it takes the bot to give up a server that says nothing more."""

OPENING = {"sid": "e", "upgrades": [], "pingInterval": 60_000, "pingTimeout": 60_000, "maxPayload": 65_536}


class Stopping:
    """A server that tells its first `stops` clients to move while their CONNECT is still being done, and closes nobody.
    `moved` is set with the first one that may stay."""

    def __init__(self, stops: int) -> None:
        self.moved = asyncio.Event()
        self._stops = stops
        self._opened = 0

    def open(self) -> AbstractAsyncContextManager[str]:
        """Serve, at the URL that is given."""
        return serving(self._talk)

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        number, self._opened = self._opened, self._opened + 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("0" + json.dumps(OPENING))
        await socket.receive_str()
        await socket.send_str('40/chat,{"sid":"s"}')
        if number < self._stops:
            await _say(socket, "session:draining", {"reconnect_in_ms": 50, "deadline_ms": 2_050})
        await _say(socket, "session:ready", {"session": f"s{number}", "expires_at": "2999-01-01T00:00:00.000Z"})
        if number == self._stops:
            self.moved.set()
        async for _ in socket:
            pass
        return socket


async def _say(socket: web.WebSocketResponse, event: str, body: dict[str, object]) -> None:
    await socket.send_str("42/chat," + json.dumps([event, body]))


@pytest.mark.parametrize("stops", [1, 2], ids=["a first connection", "and its replacement"])
async def test_a_notice_before_the_session(stops: int) -> None:
    """It is remembered, and acted on when the session begins: the bot is elsewhere before it is closed."""
    server = Stopping(stops)
    async with server.open() as url, MaruBot(url, "t", patience=HASTE):
        async with asyncio.timeout(MOVE_S):
            await server.moved.wait()
