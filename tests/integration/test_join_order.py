"""The ack of a join precedes every later event of the channel (promise P3), under live traffic over real sockets."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from aiohttp import web

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.hub import Hub
from server.application.channels.resuming import Joined
from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Send
from server.application.messages.publisher import Publisher
from server.application.people.unread import Unread
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.domain.channels import ChannelName
from server.domain.identity import Identity, SessionId
from server.domain.messages import Position
from server.gateway.chat.handlers import channels
from server.gateway.chat.namespace import ChatNamespace
from server.gateway.chat.transport import SocketTransport
from server.gateway.socketio.namespace import Reply
from server.gateway.socketio.rooms import Rooms
from server.gateway.socketio.server import ChatServer
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import SILENT, Traffic
from server.wire.answers import Answer
from server.wire.messages import announced
from tests.doubles.samples import HOUR_MS, NOW_MS, NOW_NS, ROOM, identity, sample_rings, some_id
from tests.doubles.tokens import KnownTokens

JOINS = 10
PATIENCE_S = 10.0
PACE_S = 0.0005
"""Between two messages: a join and the smallest wait in it span several of them."""

TURNS = 40
"""Waits of the broken join, each with a turn of the loop in which a message may be sent: so it does not depend on how
busy the machine is."""


class WithTasks(Subscriptions):
    """Handles every join by a task, also those that wait for nothing."""

    def joins_at_once(self, session: SessionId, identity: Identity, channel: ChannelName) -> bool:
        """Leave it to `join`."""
        return False


class AnswersLater(ChatNamespace):
    """Broken on purpose: the answer to a join without a task is not written in the step in which the channel is
    entered."""

    def join(self, session: Session, payload: object, reply: Reply) -> bool:
        """As the real one, but answer a few messages later."""

        def answer_later(answer: Answer) -> None:
            asyncio.get_running_loop().call_later(TURNS * PACE_S, reply, answer)

        return super().join(session, payload, answer_later)


class WaitsBeforeAnswering(WithTasks):
    """Broken on purpose: something waits between entering the channel and the answer."""

    async def join(
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        answer: Callable[[Joined], None],
        since: Position | None = None,
        history: int = 0,
        *,
        told: bool | None = True,
    ) -> None:
        """As the real one, then wait for a few messages, then answer."""
        held: list[Joined] = []
        await super().join(session, identity, channel, held.append, since, history, told=told)
        for _ in range(TURNS):
            await asyncio.sleep(PACE_S)
        answer(held[0])


@dataclass(frozen=True, slots=True)
class Scene:
    """A server in this process, and a room that is always talked in."""

    url: str
    http: aiohttp.ClientSession
    counts: bool

    async def joined_in_order(self, ack_id: int) -> bool:
        """Join the busy room on a connection of its own; say whether the ack came first, and the next event next."""
        async with asyncio.timeout(PATIENCE_S), self.http.ws_connect(self.url) as socket:
            await socket.receive_str()
            await socket.send_str('40/chat,{"token":"alice"}')
            while "session:ready" not in await socket.receive_str():
                pass
            # The first ping is 25 s away: from here on there are the ack and the room's events only.
            await socket.send_str(f'42/chat,{ack_id}["channel:join",{{"channel":"{ROOM}"}}]')
            first, second = await socket.receive_str(), await socket.receive_str()
        if not first.startswith("43"):
            return False
        ((ack,), (_, event)) = (orjson.loads(frame[frame.index("[") :]) for frame in (first, second))
        return bool(event["offset"] == ack["offset"] + 1 and ack["unread"] == ack["offset"] * self.counts)


@asynccontextmanager
async def scene(
    subscriptions_class: type[Subscriptions] = Subscriptions,
    namespace_class: type[ChatNamespace] = ChatNamespace,
    *,
    counts: bool = True,
) -> AsyncIterator[Scene]:
    """Wire a server as the bootstrap does, with the use case and the namespace of the test's choice."""
    log, broadcast, loop = (
        MemoryMessageLog(max_events=100_000, max_age_ms=HOUR_MS),
        MemoryBroadcast(),
        asyncio.get_running_loop(),
    )
    outbox = Outbox(loop, 1 << 30, Traffic(), SILENT)
    rooms = Rooms(outbox)
    transport = SocketTransport(rooms, outbox, {}, SILENT, lambda: NOW_MS / 1_000)
    tokens = KnownTokens()
    tokens.issue("alice", identity("alice"))
    numbers = itertools.count(1)
    publisher = Publisher(log, broadcast, lambda: NOW_NS, lambda _: some_id(next(numbers)))
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        hub = Hub(log, broadcast, transport, rooms, tasks, loop.time, rings=sample_rings())
        unread = Unread(MemoryMarks(log), tasks, announced) if counts else None
        subscriptions = subscriptions_class(log, hub, transport, rooms, 100, unread=unread)
        sessions = Sessions(tokens, transport, subscriptions.end, lambda: NOW_MS, 0)
        chat = ChatServer(
            rooms,
            namespace_class(sessions, subscriptions, channels.handlers(subscriptions), publisher),
            admission=Admission(0, 1, loop.time),
            outbox=outbox,
            metrics=SILENT,
        )
        app = web.Application()
        chat.attach(app)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        running = [tasks.create_task(loop_) for loop_ in (hub.run(), chat.eio.registry.run(), talk(publisher))]
        yield Scene(f"http://127.0.0.1:{runner.addresses[0][1]}/socket.io/?EIO=4&transport=websocket", http, counts)
        for task in running:
            task.cancel()


async def talk(publisher: Publisher) -> None:
    """Send messages into the room until cancelled."""
    author = identity("bob")
    while True:
        await publisher.send(author, Send.parse({"channel": ROOM, "text": "on and on"}))
        await asyncio.sleep(PACE_S)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("subscriptions_class", [Subscriptions, WithTasks])
async def test_the_ack_of_a_join_precedes_every_later_event(
    subscriptions_class: type[Subscriptions], counts: bool
) -> None:
    """However busy the channel is, and the first event is the one after the position in the ack. What is unread is
    counted up to that position: all of it."""
    async with scene(subscriptions_class, counts=counts) as server:
        assert all([await server.joined_in_order(ack_id) for ack_id in range(JOINS)])


async def test_an_await_before_the_answer_is_found() -> None:
    """The test above can fail: with a wait between entering the channel and the answer, events come first."""
    async with scene(WaitsBeforeAnswering) as server:
        assert not any([await server.joined_in_order(ack_id) for ack_id in range(JOINS)])


async def test_an_answer_in_a_later_step_is_found() -> None:
    """The same of a join without a task, whose answer is written later than the channel is entered. The first join
    hosts the channel, by a task."""
    async with scene(namespace_class=AnswersLater) as server:
        await server.joined_in_order(0)
        assert not any([await server.joined_in_order(ack_id) for ack_id in range(1, JOINS)])
