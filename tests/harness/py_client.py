"""A plain python-socketio client as a test subject: the library's own reconnection, positions and keys kept by hand."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import socketio

LOG_EVENTS = ("message:created", "message:edited", "message:deleted")

NAMESPACE = "/chat"

RETRYABLE = frozenset(("unavailable", "overloaded"))
"""Codes of `channel:removed` after which a client joins again."""

RETRY_S = 0.1
"""Before what was refused for now is tried again."""

Json = dict[str, Any]


class ConnectionLost(Exception):
    """The connection went before the answer came: whether the command was done is not known."""


class Refused(Exception):
    """The server's answer was an error that no retry heals."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent under a key."""

    channel: str
    text: str
    key: str

    @property
    def payload(self) -> Json:
        """As `message:send` takes it."""
        return {"channel": self.channel, "text": self.text, "key": self.key}


@dataclass(frozen=True, slots=True)
class Reset:
    """The server said that what a client knew of a channel has a hole. It goes on behind `offset` of `epoch`; of what
    it has heard of the channel, the first `heard` events came before."""

    reason: str
    epoch: str
    offset: int
    heard: int


@dataclass(eq=False, slots=True)
class _Link:
    """One connection, from `session:ready` to the disconnect: the answers that it still owes."""

    owed: set[asyncio.Future[Json]] = field(default_factory=set)
    lost: bool = False


async def until(holds: Callable[[], bool], changed: asyncio.Event, timeout: float, problem: Callable[[], str]) -> None:
    """Wait until something holds; looked at whenever `changed` is set, which any number of waiters may share."""
    try:
        async with asyncio.timeout(timeout):
            while not holds():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {problem()}") from None


class PyClient:
    """One user on `socketio.AsyncClient`. Use as an async context manager.

    `received` are the log events of each channel in the order of arrival, replayed ones too. `faults` names everything
    that the server must not do: a gap, a repeat, an event of another epoch, and a resume that did not recover, unless
    the log is to lose something (`may_reset`): then that is kept in `resets`, by channel. `acks` and `attempts` are by
    the key of the message. `changed` is set whenever one of these grows; clients may share it.
    """

    def __init__(self, url: str, token: str, changed: asyncio.Event | None = None, *, may_reset: bool = False) -> None:
        self.received: defaultdict[str, list[Json]] = defaultdict(list)
        self.resets: defaultdict[str, list[Reset]] = defaultdict(list)
        self.positions: dict[str, Json] = {}
        self.faults: list[str] = []
        self.acks: dict[str, Json] = {}
        self.attempts: Counter[str] = Counter()
        self.connects = 0
        self._url, self._token, self._may_reset = url, token, may_reset
        self._link: _Link | None = None
        self.changed = changed or asyncio.Event()
        self._sio: Any = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect (again, from where it was)."""
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

    async def disconnect(self) -> None:
        """Go away; a second time does nothing."""
        await self._sio.shutdown()
        await self._disconnected("went away")
        assert self._http is not None
        await self._http.close()

    async def online(self, timeout: float = 20.0) -> None:
        """Wait for a connection that has said `session:ready`."""
        await until(lambda: self._link is not None, self.changed, timeout, lambda: "no session:ready")

    async def heard(self, channel: str, offset: int, timeout: float = 20.0) -> None:
        """Wait until the channel's events have come up to an offset."""
        await until(
            lambda: self._offset(channel) >= offset, self.changed, timeout, lambda: self._story(channel, offset)
        )

    async def command(self, name: str, payload: Json) -> Json:
        """Send one command, return its ack. Raises `ConnectionLost`."""
        link = self._link
        if link is None:
            raise ConnectionLost("not connected")
        return await (await self._emit(link, name, payload))

    async def ask(self, name: str, payload: Json) -> Json:
        """Send one command, expect `ok`, return the ack."""
        ack = await self.command(name, payload)
        if not ack["ok"]:
            raise Refused(f"{name}: {ack['error']}")
        return ack

    async def join(self, channel: str) -> None:
        """Join, and count from the position that the ack tells."""
        await self.ask("channel:join", {"channel": channel})

    async def send_all(self, messages: Iterable[Outgoing], in_flight: int) -> None:
        """Send in order, at most `in_flight` unanswered at a time; what a lost connection left unanswered is sent again
        under its key, before anything new; what was refused for now, after a pause. Returns when every message has an
        `ok`."""
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

    # What the library calls

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
        """Join where the server could not let it in just now, as long as this connection lasts."""
        link = self._link
        while link is not None and not link.lost:
            with contextlib.suppress(ConnectionLost):
                ack = await self.command("channel:join", {"channel": channel, "since": self.positions[channel]})
                if ack["ok"]:
                    return
            await asyncio.sleep(RETRY_S)

    def _adopt(self, reply: Json) -> None:
        """What `channel:resumed` and the ack of `channel:join` have in common."""
        channel, here = reply["channel"], {"epoch": reply["epoch"], "offset": reply["offset"]}
        if reply["recovered"] is True:
            for event in reply["events"]:
                self._take(event)
            if self.positions[channel] != here:
                self.faults.append(f"resumed to {here} with events up to {self.positions[channel]}")
        elif reply["recovered"] is False:
            reset = Reset(reply["reason"], reply["epoch"], reply["offset"], len(self.received[channel]))
            self.resets[channel].append(reset)
            if not self._may_reset:
                self.faults.append(f"{channel}: not recovered: {reset}")
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

    def _story(self, channel: str, offset: int) -> str:
        return f"{channel} at {offset}; it is at {self.positions}, {self.faults[:5]}"

    def _offset(self, channel: str) -> int:
        offset: int = self.positions[channel]["offset"]
        return offset


def _fail(answer: asyncio.Future[Json]) -> None:
    if not answer.done():
        answer.set_exception(ConnectionLost("the connection was lost"))
