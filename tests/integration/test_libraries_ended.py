"""What socket.io-client and python-socketio do as a backend ends their sessions."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import socketio

from maru_bot.bot import MaruBot
from maru_bot.errors import MaruError
from tests.clients.library import CALM_S, Page
from tests.harness.backend import API_ENV, call
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/chat"

QUIET_S = 2.0
"""How long libraries are watched that must not come back. They would come back within a tenth of that."""


class Python:
    """A client of python-socketio. `said` is what it heard: events, codes of refusals, reasons of disconnects."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.said: list[str] = []
        self._changed = asyncio.Event()
        self.sio = socketio.AsyncClient(http_session=http, reconnection_delay=0.1)
        for event in ("session:ready", "session:draining"):
            self.sio.on(event, lambda _, event=event: self._say(event), namespace=CHAT)
        self.sio.on("session:terminated", lambda data: self._say(data["code"]), namespace=CHAT)
        self.sio.on("disconnect", self._say, namespace=CHAT)

    def _say(self, text: str) -> None:
        self.said.append(text)
        self._changed.set()

    async def until(self, count: int) -> None:
        """Wait until it has heard so much."""
        async with asyncio.timeout(CALM_S):
            while len(self.said) < count:
                self._changed.clear()
                await self._changed.wait()


async def test_the_bot_stays_away(tmp_path: Path) -> None:
    """After a revocation, and after the end of its sessions: it asks for no further token, and says why it ended."""
    asked: list[str] = []

    def fresh() -> str:
        asked.append(token("bot", jti=f"bot-{len(asked)}"))
        return asked[-1]

    async with ServerProcess(tmp_path, API_ENV) as server:
        for path, body, code in (
            ("/revocations", {"user": "bot", "ban": True}, "token_revoked"),
            ("/users/bot/sessions", None, "unauthenticated"),
        ):
            asked.clear()
            async with asyncio.timeout(CALM_S), MaruBot(server.url, fresh) as bot:
                await bot.send("room:1", "here I am")
                status, answer = await call(server, "DELETE" if body is None else "POST", path, body)
                assert status in (201, 204)
                with pytest.raises(MaruError) as told:
                    await anext(aiter(bot.channel("room:1")))
            assert (told.value.code, len(asked)) == (code, 1)
            if body is not None:
                await call(server, "DELETE", f"/revocations/{answer['id']}")
        await server.settled(connections=0, sessions=0)


async def test_libraries_stay_away_or_come_back(tmp_path: Path) -> None:
    """Told to begin anew, both come back by themselves. Revoked, both hear `token_revoked` and stay away."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, API_ENV))
        page = await stack.enter_async_context(Page())
        python = Python(await stack.enter_async_context(aiohttp.ClientSession()))
        auth = {"token": token("alice", jti="stolen")}
        page.do("open", "js", url=server.url + CHAT, options={"auth": auth, "reconnectionDelay": 100})
        await python.sio.connect(server.url, auth=auth, namespaces=[CHAT], transports=["websocket"])
        stack.push_async_callback(python.sio.disconnect)
        await page.until(lambda: bool(page.of("js", "ready")))
        await python.until(1)
        assert await call(server, "DELETE", "/users/alice/sessions?reconnect=true") == (204, None)
        await page.until(lambda: len(page.of("js", "ready")) == 2)
        await python.until(4)
        assert [line["reason"] for line in page.of("js", "gone")] == ["transport close"]
        assert python.said == ["session:ready", "session:draining", python.sio.reason.TRANSPORT_ERROR, "session:ready"]
        assert (await call(server, "POST", "/revocations", {"jti": "stolen"}))[0] == 201
        await page.until(lambda: len(page.of("js", "gone")) == 2)
        await python.until(6)
        await asyncio.sleep(QUIET_S)  # nothing may come: there is no event to wait for
        assert [line["body"]["code"] for line in page.of("js", "event") if line["event"] == "session:terminated"] == [
            "token_revoked"
        ]
        assert page.of("js", "gone")[1]["reason"] == "io server disconnect"
        assert (len(page.of("js", "ready")), page.of("js", "refused")) == (2, [])
        assert python.said[4:] == ["token_revoked", python.sio.reason.SERVER_DISCONNECT]
        await server.settled(connections=0, sessions=0)
