"""A server in memory that speaks the protocol to one bot after another, and fails when a test tells it to."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web

from tests.e2e.python_bot.serving import serving

Json = dict[str, Any]

OPENING = {"sid": "e", "upgrades": [], "pingInterval": 60_000, "pingTimeout": 60_000, "maxPayload": 65_536}

AT = "2026-11-22T12:00:00.000Z"

UNAVAILABLE = {"code": "unavailable", "message": "skipped", "retryable": True}


def created(name: str, offset: int, epoch: str = "e1", **message: object) -> Json:
    """A `message:created`, as it stands in answers and replays."""
    body = {
        "id": f"m{offset}",
        "channel": name,
        "author": {"id": "ben", "name": "Ben"},
        "text": str(offset),
        "data": None,
        "reply_to": None,
        "key": None,
        "created_at": AT,
        "edited_at": None,
        "version": 1,
        "offset": offset,
    }
    place = {"channel": name, "epoch": epoch, "offset": offset, "at": AT}
    return {"event": "message:created", **place, "message": body | message}


def reply(name: str, offset: int, events: list[Json], *, recovered: bool | None, epoch: str = "e1") -> Json:
    """The fields of `channel:resumed` and of the ack of `channel:join`."""
    body = {"channel": name, "epoch": epoch, "offset": offset, "recovered": recovered, "events": events}
    return body if recovered is not False else body | {"reason": "too_far_behind"}


class ScriptedServer:
    """`script` answers a command: a body, an error with its `code`, None for no answer, `...` to end the connection.

    `connect` is called with `auth` between CONNECT and `session:ready`, and may `say` something there.
    """

    def __init__(self) -> None:
        self.commands: list[tuple[str, Json]] = []
        self.resumes: list[Json] = []
        self.script: Callable[[str, Json], Any] = lambda _, body: reply(body["channel"], 0, [], recovered=None)
        self.connect: Callable[[Json], Any] | None = None
        self._socket: web.WebSocketResponse | None = None
        self._changed = asyncio.Condition()

    def open(self) -> AbstractAsyncContextManager[str]:
        """Serve, at the URL that is given."""
        return serving(self._talk)

    async def say(self, name: str, body: Json) -> None:
        """Send an event over the last connection."""
        assert self._socket is not None
        await self._socket.send_str("42/chat," + json.dumps([name, body]))

    async def drop(self) -> None:
        """End the last connection."""
        assert self._socket is not None
        await self._socket.close()

    async def reached(self, met: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(met)

    def count(self, name: str) -> int:
        """How many such commands have come."""
        return sum(name == command for command, _ in self.commands)

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("0" + json.dumps(OPENING))
        auth = json.loads((await socket.receive_str()).removeprefix("40/chat,"))
        await socket.send_str('40/chat,{"sid":"s"}')
        await self._note(lambda: self.resumes.append(auth["resume"]))
        if self.connect is not None:
            await self.connect(auth)
        await self.say("session:ready", {"session": "s", "user": "ann", "expires_at": "2999-01-01T00:00:00.000Z"})
        async for packet in socket:
            head, _, payload = str(packet.data).partition("[")
            if head.startswith("42/chat,"):
                await self._command(socket, head.removeprefix("42/chat,"), *json.loads("[" + payload))
        return socket

    async def _command(self, socket: web.WebSocketResponse, id: str, name: str, body: Json) -> None:
        await self._note(lambda: self.commands.append((name, body)))
        answer = self.script(name, body)
        if answer is ...:
            await socket.close(code=1003)
        elif answer is not None:
            ack = {"ok": False, "error": answer} if "code" in answer else {"ok": True, **answer}
            await socket.send_str(f"43/chat,{id}{json.dumps([ack])}")

    async def _note(self, change: Callable[[], None]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()
