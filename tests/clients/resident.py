"""A client that lives in a channel: it answers pings, moves when it is told to, and keeps what it hears of presence."""

import asyncio
import contextlib
import json
import time
from typing import Any, Self

from tests.clients.raw import Gone, RawSocket, connect, event
from tests.harness.tokens import token

GRANTS = {"*": ["join", "send"]}
RETRY_S = 0.3


class Resident:
    """One user's tab. `ports` are the servers, of which it takes the first that lets it in; it comes back to the next.

    `heard` has its presence events, with the monotonic time. Told to move, it moves before it breaks, unless `lazy`.
    """

    def __init__(self, user: str, channel: str, ports: list[int], *, told: bool = True, lazy: bool = False) -> None:
        self.user, self.channel, self.ports = user, channel, list(ports)
        self.heard: list[tuple[float, str, dict[str, Any]]] = []
        self.moves = 0  # times that it has come back
        self.changed = asyncio.Event()
        self._told, self._lazy = told, lazy
        self._position: dict[str, Any] | None = None
        self._client: RawSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._moving: set[asyncio.Task[None]] = set()
        self._asked = 10_000

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """The kind, user and version of what was heard."""
        return [(name, body["user"], body["version"]) for _, name, body in self.heard if "user" in body]

    async def arrive(self) -> Self:
        """Come for the first time."""
        self._client = await self._enter()
        self._task = asyncio.create_task(self._live())
        return self

    async def ask(self, name: str, **payload: Any) -> dict[str, Any]:
        """Send a command about the channel; return its answer."""
        assert self._client is not None
        self._asked += 1
        waiting = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        await self._client.say(event(name, {"channel": self.channel, **payload}, ack=self._asked))
        done, _ = await asyncio.wait((waiting,), timeout=10)
        assert done, f"{self.user} is not answered"
        result: dict[str, Any] = waiting.result()
        return result

    async def hears(self, name: str, user: str, timeout: float = 10.0) -> float:
        """Wait for an event about a user; return when it came."""
        async with asyncio.timeout(timeout):
            while True:
                for at, kind, body in self.heard:
                    if (kind, body.get("user")) == (f"presence:{name}", user):
                        return at
                self.changed.clear()
                await self.changed.wait()

    def stay(self) -> None:
        """Do not come back when the connection ends."""
        for task in (self._task, *self._moving):
            if task is not None:
                task.cancel()

    def vanish(self) -> None:
        """Be gone, and do not come back."""
        self.stay()
        if self._client is not None:
            self._client.vanish()

    async def leave(self) -> None:
        """DISCONNECT, and do not come back."""
        assert self._client is not None
        await self._client.say("41/chat,")
        self.vanish()

    async def _enter(self) -> RawSocket:
        """Get in at the first server that lets it."""
        while True:
            port = self.ports[0]
            try:
                client = await RawSocket.open(port)
            except (OSError, AssertionError, Gone, TimeoutError):
                self.ports.append(self.ports.pop(0))
                await asyncio.sleep(RETRY_S)
                continue
            client.sees_presence = True
            resume = {"resume": {self.channel: self._position}} if self._position else {}
            await client.say(connect({"token": token(self.user, grants=GRANTS)} | resume))
            with contextlib.suppress(Gone, AssertionError, TimeoutError), client.gone_on_failure():
                await client.event("session:ready")
                if self._position is None:
                    joined = await client.ask("channel:join", {"channel": self.channel, "presence": self._told})
                    self._position = {"epoch": joined["epoch"], "offset": joined["offset"], "presence": self._told}
                self._take_unread(client)
                return client
            client.vanish()
            self.ports.append(self.ports.pop(0))

    async def _live(self) -> None:
        while True:
            client = self._client
            assert client is not None
            try:
                while self._client is client:
                    self._take(client, await client.text(timeout=60))
            except (Gone, AssertionError, TimeoutError, OSError):
                if self._client is not client:
                    continue
                client.vanish()
                self.ports.append(self.ports.pop(0))
                self._client = await self._enter()
                self.moves += 1
                self.changed.set()

    async def _move(self, former: RawSocket) -> None:
        self.ports.append(self.ports.pop(0))
        self._client = await self._enter()
        self.moves += 1
        self.changed.set()
        with contextlib.suppress(OSError, Gone):
            await former.say("41/chat,")
        former.vanish()

    def _take_unread(self, client: RawSocket) -> None:
        for text in client.unread:
            self._take(client, text)
        client.unread.clear()

    def _take(self, client: RawSocket, text: str) -> None:
        if text.startswith("43/chat,"):
            number, _, body = text.removeprefix("43/chat,").partition("[")
            if (answer := self._answers.pop(int(number), None)) is not None and not answer.done():
                answer.set_result(json.loads("[" + body)[0])
        elif text.startswith("42/chat,"):
            name, *bodies = json.loads(text.removeprefix("42/chat,"))
            if name.startswith("presence:"):
                self.heard.append((time.monotonic(), name, bodies[0]))
                self.changed.set()
            elif name == "session:draining" and not self._lazy:
                task = asyncio.create_task(self._move(client))
                self._moving.add(task)
                task.add_done_callback(self._moving.discard)
