"""The order of a client's commands, whichever way each takes through the server, and whatever fails on the way.

A client over a socket sends commands of all kinds, while a log writes them in batches, of which some fail and some take
longer than a client may wait. Random numbers decide; time is virtual.
"""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, cast

import orjson
import pytest

from loadtest.frames import Frames
from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.hub import Hub
from server.application.channels.subscriptions import Subscriptions
from server.application.limits import error_budget
from server.application.limits.limiter import Limiter
from server.application.messages.history import History
from server.application.messages.publisher import Publisher
from server.application.sessions.sessions import Sessions
from server.domain.appending import Appended, created
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, NewMessage, Sender
from server.domain.events import MessageCreated
from server.domain.gcra import Rate
from server.domain.messages import Position
from server.domain.rates import Bucket
from server.gateway.chat.buckets import BUCKETS
from server.gateway.chat.handlers import channels, messages
from server.gateway.chat.namespace import ChatNamespace
from server.gateway.chat.transport import SocketTransport
from server.gateway.socketio.gate import RateGate
from server.gateway.socketio.rooms import Rooms
from server.gateway.socketio.server import ChatServer
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.gate import Refused
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.lane import Lane
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.packet_queue import PacketQueue
from server.ports.message_log import Done
from server.ports.metrics import SILENT, Traffic
from tests.clients.frames import masked
from tests.doubles.batching_log import BatchingLog
from tests.doubles.samples import HOUR_MS, NOW_MS, NOW_NS, identity, sample_rings, some_id
from tests.doubles.tokens import KnownTokens
from tests.doubles.virtual_time import turns, virtually

LIVES = 120
"""Seeds: each is a client of its own, with its own server."""

WINDOW = 127
"""Commands without an answer that a client has at most: with one more, the server stops reading (PROTOCOL.md)."""

STEPS = 60
SETTLED = 15
"""Turns of the loop after which a step has had its effects."""

PAST_THE_DEADLINE_S = 2.0
ROOMS = (ChannelName("room:1"), ChannelName("room:2"))
DENIED = ChannelName("secret:1")
READS = ("channel:join", "history:read")
"""Commands whose answers say how far the log went, or how far its events had been delivered."""

LONG = "x" * 1_500
"""A text with which a send does not take the lane."""


@dataclass
class Sent:
    """A command that the client has sent."""

    number: int
    knows: int  # answers that the client had when it sent the command
    name: str
    payload: dict[str, Any]
    answer: dict[str, Any] | None = None

    @property
    def key(self) -> str | None:
        """The key, if the command is a send."""
        return self.payload.get("key")

    @property
    def is_ok(self) -> bool:
        """Whether the command was done."""
        return self.answer is not None and bool(self.answer["ok"])

    @property
    def may_retry(self) -> bool:
        """Whether the client is to send the command again."""
        return self.answer is not None and not self.answer["ok"] and bool(self.answer["error"]["retryable"])


@dataclass
class Scene:
    """A client, and the log of its server."""

    log: BatchingLog
    peer: socket.socket
    sent: list[Sent] = field(default_factory=list)
    frames: Frames = field(default_factory=Frames)
    answered: int = 0
    violations: dict[str, object] = field(default_factory=dict)
    keys: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def unanswered(self) -> int:
        """How many commands have no answer yet."""
        return len(self.sent) - self.answered

    def send(self, *commands: tuple[str, dict[str, Any]]) -> None:
        """Send commands in one write."""
        data = b""
        for name, payload in commands:
            data += masked(f"42/chat,{len(self.sent)}{orjson.dumps([name, payload]).decode()}")
            self.sent.append(Sent(len(self.sent), self.answered, name, payload))
        self.peer.sendall(data)

    def some_command(self, random: Random) -> tuple[str, dict[str, Any]]:
        """Make up a command. Half of them are sends that may take the lane."""
        channel = random.choice(ROOMS)
        send = {"channel": channel, "text": "hello", "key": f"k{next(self.keys)}"}
        others: tuple[tuple[str, dict[str, Any]], ...] = (
            ("message:send", send | {"text": LONG}),
            ("message:send", send | {"data": {"a": 1}}),
            ("message:send", send | {"text": ""}),
            ("message:send", send | {"channel": DENIED}),
            ("channel:join", {"channel": channel}),
            ("channel:leave", {"channel": channel}),
            ("history:read", {"channel": channel}),
            ("no:such", {}),
        )
        return ("message:send", send) if random.random() < 0.5 else random.choice(others)

    async def settle(self) -> None:
        """Let everything happen that can, and look at what the client has got."""
        await turns(SETTLED)
        while data := self._received():
            for _, payload in self.frames.feed(data):
                if payload.startswith(b"43/chat,"):
                    self._take(payload)
            await turns(1)

    def _received(self) -> bytes:
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""

    def _take(self, ack: bytes) -> None:
        start = ack.index(b"[")
        number, answer = int(ack[len(b"43/chat,") : start]), orjson.loads(ack[start:])[0]
        if number != self.answered:
            self.violations["answers are out of order"] = (number, self.answered)
        self.answered += 1
        command = self.sent[number]
        command.answer = answer
        if command.key is not None and answer["ok"] and command.key not in self.written(command.payload["channel"]):
            self.violations["an ack came before its commit"] = command

    def written(self, channel: ChannelName) -> dict[str, int]:
        """Return the offsets of the keys that the channel's log has."""
        events = [event for event in self.log.written if isinstance(event, MessageCreated) and event.channel == channel]
        return {event.message.key: event.offset for event in events if event.message.key is not None}

    def check(self) -> dict[str, object]:
        """Return the promises that are broken, with an example each. Call this once every command is answered."""
        unanswered = [command for command in self.sent if command.answer is None]
        if unanswered:
            self.violations["a command has no answer"] = unanswered
        for room in ROOMS:
            commands = [command for command in self.sent if command.payload.get("channel") == room]
            self.violations.update(judged(commands, self.written(room)))
        return self.violations


def judged(commands: Sequence[Sent], written: Mapping[str, int]) -> Iterator[tuple[str, object]]:
    """Judge the commands for a channel, in the order in which they were sent. `written` has the offsets of keys."""
    refused: list[Sent] = []  # sends that are not in the log, and are to be sent again
    newest = acked = read = 0
    for command in commands:
        if command.name in READS and command.answer is not None and command.is_ok:
            read = command.answer["offset"]
            if command.name == "history:read" and read < acked:
                yield "a read overtook a send", command
        if command.key is None:
            continue
        offset = written.get(command.key)
        if offset is None:
            refused += [command] * command.may_retry
            continue
        if any(earlier.number >= command.knows for earlier in refused):
            yield "a retry inverts", command
        if offset <= read:
            yield "a send overtook a read", command
        if offset < newest:
            yield "the log is out of order", command
        newest = offset
        acked = offset if command.is_ok else acked


LIMITS = {Bucket.SEND: Rate(2_000.0, 20), Bucket.SESSION: Rate(4_000.0, 60)}
"""Rates that a client meets all the time; a moment later, when time stands still for the test, it has earned more."""

LIMITER = partial(Limiter, LIMITS, {}, BUCKETS)


def wired(
    log: BatchingLog, outbox: Outbox, tasks: asyncio.TaskGroup, limiter: Limiter | None
) -> tuple[ChatServer, Hub]:
    """Wire a server as the bootstrap does."""
    loop, broadcast, rooms = asyncio.get_running_loop(), MemoryBroadcast(), Rooms(outbox)
    transport = SocketTransport(rooms, outbox, {}, SILENT, lambda: NOW_MS / 1_000)
    tokens, numbers = KnownTokens(), itertools.count(1)
    tokens.issue("alice", identity("alice", {"room:*": ["join", "send"]}))
    publisher = Publisher(log, broadcast, lambda: NOW_NS, lambda _: some_id(next(numbers)))
    hub = Hub(log, broadcast, transport, rooms, tasks, loop.time, rings=sample_rings())
    subscriptions = Subscriptions(log, hub, transport, rooms, 100)
    sessions = Sessions(tokens, transport, subscriptions.end, lambda: NOW_MS, 0, limiter)
    handlers = {**channels.handlers(subscriptions), **messages.handlers(publisher, History(log))}
    namespace = ChatNamespace(sessions, subscriptions, handlers, publisher)
    return ChatServer(rooms, namespace, admission=Admission(0, 1, loop.time), outbox=outbox, metrics=SILENT), hub


@asynccontextmanager
async def scene(log: BatchingLog, limiter: Limiter | None = None) -> AsyncIterator[Scene]:
    """A client that is in."""
    loop = asyncio.get_running_loop()
    outbox = Outbox(loop, 1 << 30, Traffic(), SILENT)
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        chat, hub = wired(log, outbox, tasks, limiter)
        hearing = tasks.create_task(hub.run())
        stream, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        connection = Connection(chat.eio.registry, "c", stream, Inbox(loop), outbox)
        chat.eio.registry.add(connection)
        stream.set_protocol(connection)
        connection.writer.start()
        client = Scene(log, peer)
        try:
            peer.sendall(masked('40/chat,{"token":"alice"}'))
            await client.settle()
            assert connection.session is not None
            yield client
        finally:
            stream.abort()
            peer.close()
            await turns(SETTLED)
            hearing.cancel()


async def live(seed: int, *, keeps_order: bool = True, limited: bool = False) -> dict[str, object]:
    """A client's life: random steps, then everything is written. Returns the promises that were broken."""
    random = Random(seed)
    log = BatchingLog(MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS), keeps_order=keeps_order)
    async with scene(log, LIMITER(time.monotonic) if limited else None) as client:
        for _ in range(STEPS):
            step = random.random()
            if step < 0.45:
                count = min(random.choice((1, 1, 2, 5, WINDOW)), WINDOW - client.unanswered)
                client.send(*(client.some_command(random) for _ in range(count)))
            elif step < 0.65:
                log.begin(random.choice((1, 3, 50)))
            elif step < 0.85:
                log.commit()
            elif step < 0.92:
                log.fail()
            elif step < 0.95:
                log.full, log.crowded_now = random.random() < 0.4, random.random() < 0.4
            else:
                await asyncio.sleep(PAST_THE_DEADLINE_S)
            await client.settle()
        log.full = False
        for _ in range(3 * len(client.sent)):
            if client.answered == len(client.sent):
                break
            log.begin(1_000)
            log.commit()
            await client.settle()
        return client.check()


def lives(*, keeps_order: bool = True, limited: bool = False) -> Iterator[dict[str, object]]:
    """Live many lives, each with another seed."""
    for seed in range(LIVES):
        yield virtually(partial(live, seed, keeps_order=keeps_order, limited=limited))


def test_commands_keep_their_order() -> None:
    """Answers come in order, acks after their commits, and a retry of all that was refused inverts nothing."""
    for violations in lives():
        assert violations == {}


def test_commands_over_their_rates_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with rates that the client meets again and again: no send behind a refused one is done before its client
    can know."""
    monkeypatch.setattr(error_budget, "MAX_REFUSALS", 1 << 30)
    for violations in lives(limited=True):
        assert violations == {}


def test_a_gate_that_forgets_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that judges each send by the rates alone, though an earlier refusal waits to be written."""

    def judge(self: RateGate, connection: Connection, packet: str, now: float, **_: bool) -> Refused | None:
        return judge_behind(self, connection, packet, now)

    judge_behind = RateGate.judge
    monkeypatch.setattr(RateGate, "judge", judge)
    monkeypatch.setattr(error_budget, "MAX_REFUSALS", 1 << 30)
    assert any("a retry inverts" in violations for violations in lives(limited=True))


def test_a_log_that_writes_behind_a_failure_is_found() -> None:
    """The test above can fail: without the log's promise a retry inverts messages."""
    assert any("a retry inverts" in violations for violations in lives(keeps_order=False))


def test_an_ack_before_its_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers when the log has taken the draft."""

    submit_in_order = BatchingLog.submit

    def submit(self: BatchingLog, draft: Draft, sender: Sender, done: Done) -> None:
        event = created(cast(NewMessage, draft), Position("one", 1))
        done(Appended(event, duplicate=False))
        submit_in_order(self, draft, sender, lambda _: None)

    monkeypatch.setattr(BatchingLog, "submit", submit)
    assert any("an ack came before its commit" in violations for violations in lives())


def test_a_send_that_overtakes_a_join_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that begins a send although a command with a task waits before it."""

    def put(self: PacketQueue[Any], packet: str) -> None:
        mailbox, self._mailbox = self._mailbox, None
        if not (self._begins and self._host.events.take_at_once(self._host, packet)):
            self._mailbox = mailbox
            put_in_order(self, packet)
        else:
            self._mailbox = mailbox

    put_in_order = PacketQueue.put
    monkeypatch.setattr(PacketQueue, "put", put)
    assert any("a send overtook a read" in violations for violations in lives())


def test_a_join_that_overtakes_a_send_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue whose tasks do not wait for the commands that are under way."""

    async def shrunk(self: Lane, target: int) -> None:
        """Wait for nothing."""

    monkeypatch.setattr(Lane, "shrunk", shrunk)
    assert any("a read overtook a send" in violations for violations in lives())
