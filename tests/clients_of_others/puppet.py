"""Puppets: programs, each with a client library of other people, that do what the judge says and tell what they see."""

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from playwright.async_api import Page

from tests.clients_of_others.clients import HERE
from tests.harness.page import chromium
from tests.harness.process import free_port
from tests.harness.program import Program
from tests.harness.waiting import until

Json = dict[str, Any]

WAIT_S = 15.0
"""For a line: two cores run all clients at once."""

WEBSOCKET = ("websocket",)

_HTML = """<!doctype html><title>puppet</title><script type="module">
import { io } from "/node_modules/socket.io-client-4.8/dist/socket.io.esm.min.js";
import { puppet } from "/puppet.js";
window.act = puppet(io, (line) => say(JSON.stringify(line)));
</script>"""


class Puppet(ABC):
    """One program with any number of sockets."""

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._numbers = itertools.count(1)

    @abstractmethod
    async def say(self, order: Json) -> None:
        """Give it an order."""

    def socket(self) -> "Socket":
        """A new socket, not yet open."""
        socket = Socket(self, str(next(self._numbers)))
        self._sockets[socket.id] = socket
        return socket

    def hear(self, line: Json) -> None:
        """Take a line of the program."""
        self._sockets[line["id"]].hear(line)


class Socket:
    """One connection of a user, as the library shows it: `lines` are what it told, oldest first."""

    def __init__(self, puppet: Puppet, id: str) -> None:
        self.id = id
        self.lines: list[Json] = []
        self.changed = asyncio.Event()
        self._puppet = puppet
        self._tags = itertools.count(1)

    def hear(self, line: Json) -> None:
        """Take a line."""
        self.lines.append(line)
        self.changed.set()

    async def open(
        self,
        url: str,
        auth: Json,
        namespaces: Sequence[str] = ("/chat",),
        transports: Sequence[str] | None = WEBSOCKET,
    ) -> None:
        """Connect to all these namespaces over one WebSocket; the last of them is the one that is watched."""
        order = {"url": url, "auth": auth, "namespaces": namespaces, "transports": transports}
        await self._say("open", **order)

    async def authenticate(self, auth: Json) -> None:
        """Set the payload of the next CONNECT."""
        await self._say("auth", auth=auth)

    async def connect(self) -> None:
        """Connect by hand, after the library has given up."""
        await self._say("connect")

    async def close(self) -> None:
        """Go away for good."""
        await self._say("close")

    async def emit(self, name: str, *args: object, tag: int | None = None) -> None:
        """Emit an event with these arguments."""
        await self._say("emit", name=name, args=args, tag=tag)

    async def ask(self, name: str, *args: object) -> Json:
        """Emit an event; return its ack."""
        tag = next(self._tags)
        await self.emit(name, *args, tag=tag)
        ack: Json = (await self.told("ack", tag=tag))["ack"]
        return ack

    async def told(self, kind: str, *, since: int = 0, timeout: float = WAIT_S, **fields: object) -> Json:
        """Wait for a line of a kind with these fields, from an index on. Fails at once if the library is `unable`."""
        wanted = {"is": kind} | fields

        def found() -> list[Json]:
            lines = self.lines[since:]
            return [line for line in lines if line["is"] == "unable" or wanted.items() <= line.items()]

        await until(lambda: bool(found()), self.changed, timeout, lambda: f"{kind} {fields}; told: {self.lines[-8:]}")
        line = found()[0]
        assert line["is"] != "unable", line
        return line

    async def event(self, name: str, *, since: int = 0, timeout: float = WAIT_S) -> Json:
        """Wait for an event; return its payload."""
        body: Json = (await self.told("event", name=name, since=since, timeout=timeout))["body"]
        return body

    async def _say(self, do: str, **fields: object) -> None:
        await self._puppet.say({"do": do, "id": self.id} | fields)


class ProgramPuppet(Puppet):
    """A program that reads and writes lines."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self._program = Program(*command, react=self.hear)

    async def say(self, order: Json) -> None:
        self._program.say(order)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ProgramPuppet"]:
        """Start it, and end it."""
        async with self._program:
            yield self


class PagePuppet(Puppet):
    """A page in Chromium, from another origin than the server's, as with a bundler's development server."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    async def say(self, order: Json) -> None:
        await self._page.evaluate("(order) => void act(order)", order)

    async def load(self, url: str) -> None:
        """Open the page, and wait until it can act."""
        await self._page.expose_function("say", lambda line: self.hear(json.loads(line)))
        await self._page.goto(url)
        await self._page.wait_for_function("window.act !== undefined")


@asynccontextmanager
async def page_puppet() -> AsyncIterator[Puppet]:
    """A page with a socket.io-client."""
    async with chromium() as browser, _site() as url:
        puppet = PagePuppet(await browser.new_page())
        await puppet.load(url)
        yield puppet


@asynccontextmanager
async def _site() -> AsyncIterator[str]:
    """The page, its two scripts, and where they are."""

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=_HTML, content_type="text/html")

    site = web.Application()
    site.router.add_get("/", index)
    site.router.add_static("/", HERE / "js")
    port, runner = free_port(), web.AppRunner(site)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
