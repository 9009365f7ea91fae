"""A `socketio.AsyncClient` that does what it is told. ../README.md has the commands and the lines."""

import asyncio
import json
import sys
from collections.abc import Callable

import aiohttp
import socketio

from tests.clients_of_others.python.lines import HASTE, Json, Voice, argument


class User:
    """A client, and the payload of its next CONNECT."""

    def __init__(self, id: str) -> None:
        self._voice = Voice(id)
        self._http = aiohttp.ClientSession()  # the library leaves its own one open where a handshake is refused
        self._client = socketio.AsyncClient(http_session=self._http, **HASTE)
        self._order: Json = {}

    async def open(self, order: Json) -> None:
        """Make ready, and connect."""
        self._order = order
        handlers: dict[str, Callable[..., None]] = {
            "connect": lambda: self._voice.say("connect"),
            "disconnect": lambda reason: self._voice.say("disconnect", reason=reason),
            "connect_error": self._voice.failed,
            "*": self._voice.heard,
        }
        for name, handler in handlers.items():
            self._client.on(name, handler, namespace=order["namespaces"][-1])
        await self._connect()

    async def connect(self, _: Json) -> None:
        """Connect by hand. When `disconnect` is called, the library is not done yet."""
        await self._client.wait()
        await self._connect()

    async def _connect(self) -> None:
        """Connect; the handlers tell what becomes of it, or the exception does."""
        names = self._order["namespaces"]
        try:
            await self._client.connect(
                self._order["url"],
                auth=lambda: self._order["auth"],
                transports=self._order["transports"],
                namespaces=names,
                wait=len(names) == 1,  # one that waits gives all of them up if one is refused
                wait_timeout=5,
            )
        except socketio.exceptions.ConnectionError as error:
            self._voice.failed(error)

    async def auth(self, order: Json) -> None:
        """Change the payload of the next CONNECT."""
        self._order["auth"] = order["auth"]

    async def emit(self, order: Json) -> None:
        """Emit, with an ack if it has a tag."""
        tag = order["tag"]
        callback = None if tag is None else lambda ack: self._voice.answered(tag, ack)
        try:
            await self._client.emit(order["name"], argument(order), self._order["namespaces"][-1], callback)
        except socketio.exceptions.SocketIOError as error:
            self._voice.failed(repr(error))

    async def close(self, _: Json) -> None:
        """Go away, also while it reconnects."""
        await self._client.shutdown()
        await self._http.close()


async def main() -> None:
    """Do what the lines say, each in its own task: a connect may take its time."""
    users: dict[str, User] = {}
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as orders:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order: Json = json.loads(line)
            user = users.get(order["id"]) or users.setdefault(order["id"], User(order["id"]))
            orders.create_task(getattr(user, order["do"])(order))


asyncio.run(main())
