"""A plain python-socketio client as a test subject: the library's own reconnection, positions and keys kept by hand."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import socketio

from tests.clients.account import LOG_EVENTS, Account, Json, Outgoing, Refused
from tests.harness.waiting import until

NAMESPACE = "/chat"

RETRYABLE = frozenset(("unavailable", "overloaded"))
"""Codes of `channel:removed` after which a client joins again."""

RETRY_S = 0.1
"""Before a command that was refused for now is repeated."""


class ConnectionLost(Exception):
    """The connection was lost before the answer came: whether the command was done is not known."""


@dataclass(eq=False, slots=True)
class _Link:
    """One connection, from `session:ready` to the disconnect: the answers that it still owes."""

    owed: set[asyncio.Future[Json]] = field(default_factory=set)
    lost: bool = False


class PyClient(Account):
    """One user on `socketio.AsyncClient`. Use as an async context manager.

    `received` has the replayed events too. `attempts` counts the sendings of each message, by its key.
    """

    def __init__(self, url: str, token: str, changed: asyncio.Event | None = None, *, may_reset: bool = False) -> None:
        super().__init__(changed, may_reset=may_reset)
        self.positions: dict[str, Json] = {}
        self.attempts: Counter[str] = Counter()
        self._url, self._token = url, token
        self._link: _Link | None = None
        self._sio: Any = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect (again, from its positions)."""
        # As browsers do, and unlike aiohttp by default, it keeps the cookies of a host without a name too.
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._sio = self._client(self._http)
        await self._sio.connect(
            self._url,
            auth=lambda: {"token": self._token, "resume": self.positions},
            transports=["websocket"],
            namespaces=[NAMESPACE],
        )
        await self.online()

    def move(self, url: str) -> None:
        """Connect to another server from the next `connect` on."""
        self._url = url

    async def disconnect(self) -> None:
        """Go away; a second time does nothing."""
        await self._sio.shutdown()
        await self._disconnected("went away")
        assert self._http is not None
        await self._http.close()

    async def online(self, timeout: float = 20.0) -> None:
        """Wait for a connection that has said `session:ready`."""
        await until(lambda: self._link is not None, self.changed, timeout, lambda: "no session:ready")

    def offset(self, channel: str) -> int:
        """The offset of its position in a channel."""
        return int(self.positions[channel]["offset"])

    async def command(self, name: str, payload: Json) -> Json:
        """Send a command, and return its ack. Raises `ConnectionLost`."""
        link = self._link
        if link is None:
            raise ConnectionLost("not connected")
        return await (await self._emit(link, name, payload))

    async def ask(self, name: str, payload: Json) -> Json:
        """Send a command, expect `ok`, and return the ack."""
        ack = await self.command(name, payload)
        if not ack["ok"]:
            raise Refused(f"{name}: {ack['error']}")
        return ack

    async def join(self, channel: str) -> None:
        """Join, and count from the position that the ack tells."""
        await self.ask("channel:join", {"channel": channel})

    async def send_all(self, messages: Iterable[Outgoing], in_flight: int) -> None:
        """Send in order, at most `in_flight` unanswered at a time; return when every message has an `ok`.

        Messages that a lost connection left unanswered are sent again under their keys, before anything new; messages
        that were refused for now are sent again after a pause.
        """
        todo = [message for message in messages if message.key not in self.acks]
        while todo:
            await self.online()
            with contextlib.suppress(ConnectionLost):
                await self._send_over(self._link, todo, in_flight)
            todo = [message for message in todo if message.key not in self.acks]
            if todo:
                await asyncio.sleep(RETRY_S)

    async def _send_over(self, link: _Link | None, todo: list[Outgoing], in_flight: int) -> None:
        if link is None:
            raise ConnectionLost("not connected")
        slots = asyncio.Semaphore(in_flight)
        async with asyncio.TaskGroup() as answers:
            for message in todo:
                await slots.acquire()
                if link.lost:
                    break
                self.attempts[message.key] += 1
                answer = await self._emit(link, "message:send", message.payload)
                answers.create_task(self._answered(message, answer, slots))

    async def _answered(self, message: Outgoing, answer: asyncio.Future[Json], slots: asyncio.Semaphore) -> None:
        try:
            ack = await answer
        except ConnectionLost:
            return  # the message stays to do
        finally:
            slots.release()
        if ack["ok"]:
            self.acks[message.key] = ack
            self.changed.set()
        elif not ack["error"]["retryable"]:
            raise Refused(f"{message.key}: {ack['error']}")

    async def _emit(self, link: _Link, name: str, payload: Json) -> asyncio.Future[Json]:
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        link.owed.add(answer)
        answer.add_done_callback(link.owed.discard)
        try:
            await self._sio.emit(
                name, payload, namespace=NAMESPACE, callback=lambda ack: self._acked(name, answer, ack)
            )
        except socketio.exceptions.BadNamespaceError:
            _fail(answer)
        return answer

    def _acked(self, name: str, answer: asyncio.Future[Json], ack: Json) -> None:
        if name == "channel:join" and ack["ok"]:
            # Here and not in `join`, which runs later: the channel's next event may be in the same read.
            self._adopt(ack)
        if not answer.done():
            answer.set_result(ack)

    # Called by the library

    def _client(self, http: aiohttp.ClientSession) -> Any:
        client = socketio.AsyncClient(
            http_session=http,
            handle_sigint=False,
            reconnection_delay=0.2,
            reconnection_delay_max=0.5,
            randomization_factor=0.1,
        )
        for name in LOG_EVENTS:
            client.on(name, self._receiver(name), namespace=NAMESPACE)
        client.on("channel:resumed", self._resumed, namespace=NAMESPACE)
        client.on("channel:removed", self._removed, namespace=NAMESPACE)
        client.on("session:ready", self._ready, namespace=NAMESPACE)
        client.on("disconnect", self._disconnected, namespace=NAMESPACE)
        return client

    async def _ready(self, _: Json) -> None:
        self.connects += 1
        self._link = _Link()
        self.changed.set()

    async def _disconnected(self, _: str) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.lost = True
            for answer in list(link.owed):
                _fail(answer)

    def _receiver(self, name: str) -> Callable[[Json], Any]:
        async def receive(body: Json) -> None:
            self._take({"event": name, **body})
            self.changed.set()

        return receive

    async def _resumed(self, reply: Json) -> None:
        self._adopt(reply)

    async def _removed(self, gone: Json) -> None:
        if gone["code"] in RETRYABLE:
            await self.online()
            await self._rejoin(gone["channel"])
        else:
            self.faults.append(f"removed: {gone}")

    async def _rejoin(self, channel: str) -> None:
        """Join a channel that the server could not resume for now, as long as this connection lasts."""
        link = self._link
        while link is not None and not link.lost:
            with contextlib.suppress(ConnectionLost):
                ack = await self.command("channel:join", {"channel": channel, "since": self.positions[channel]})
                if ack["ok"]:
                    return
            await asyncio.sleep(RETRY_S)

    def _adopt(self, reply: Json) -> None:
        """Take a `channel:resumed`, or the ack of a `channel:join`."""
        channel, here = reply["channel"], {"epoch": reply["epoch"], "offset": reply["offset"]}
        if reply["recovered"] is True:
            for event in reply["events"]:
                self._take(event)
            if self.positions[channel] != here:
                self.faults.append(f"resumed to {here} with events up to {self.positions[channel]}")
        elif reply["recovered"] is False:
            self.reset(channel, reply)
        self.positions[channel] = here
        self.changed.set()

    def _take(self, event: Json) -> None:
        channel, position = event["channel"], self.positions.get(event["channel"])
        here = {"epoch": event["epoch"], "offset": event["offset"]}
        if position is None:
            self.faults.append(f"{channel}: {here} before it was joined")
        elif here != {"epoch": position["epoch"], "offset": position["offset"] + 1}:
            self.faults.append(f"{channel}: {here} after {position}")
        self.positions[channel] = here
        self.received[channel].append(event)


def _fail(answer: asyncio.Future[Json]) -> None:
    if not answer.done():
        answer.set_exception(ConnectionLost("the connection was lost"))
