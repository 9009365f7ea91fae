"""A CONNECT and a join that wait for nothing are handled as they are read, without a task; the others as ever."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest
from pydantic import SecretStr

from loadtest.frames import Frames
from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.bootstrap.replica import Replica, compose
from server.bootstrap.stores.open import open_stores
from server.domain.channels import ChannelName
from server.domain.gcra import Rate
from server.domain.outcomes import CloseReason
from server.domain.rates import Bucket
from server.gateway.socketio.connecting import MAX_REFUSALS
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.plain_handshake import PlainHandshake
from server.settings.choices import MessageLogKind
from server.settings.model import Settings
from tests.clients.frames import masked
from tests.clients.raw import connect
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.samples import HOUR_MS
from tests.doubles.wired import DEADLINE_S, tcp_pair
from tests.harness.server import SECRET
from tests.harness.tokens import token
from tests.harness.waiting import polled

ROOM = "room:1"


@dataclass
class Scene:
    """A server without a listener, and the connection of a client whose end the test reads."""

    replica: Replica
    log: FaultyLog
    connection: Connection
    peer: socket.socket
    unread: bytes = b""

    def send(self, *texts: str) -> int:
        """Let a read bring packets; return how many tasks were begun for them."""
        before = len(asyncio.all_tasks())
        self.connection.data_received(b"".join(map(masked, texts)))
        return len(asyncio.all_tasks()) - before

    @property
    def queued(self) -> list[str]:
        """The frames that the end of this turn writes in one piece."""
        queued = self.connection.writer.queued or []
        return _texts(queued if isinstance(queued, bytes) else b"".join(queued))

    async def texts(self, count: int) -> list[str]:
        """Read so many messages of the server."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := _texts(self.unread)) < count:
                self.unread += await asyncio.get_running_loop().sock_recv(self.peer, 1 << 16)
        assert len(found) == count
        self.unread = b""
        return found

    async def texts_now(self) -> list[str]:
        """Read some messages of the server, at least one."""
        async with asyncio.timeout(DEADLINE_S):
            while not _texts(self.unread):
                self.unread += await asyncio.get_running_loop().sock_recv(self.peer, 1 << 16)
        frames = Frames()
        found = [payload.decode(errors="replace") for _, payload in frames.feed(self.unread)]
        self.unread = bytes(frames.rest)
        return found

    async def enter(self) -> None:
        """Connect, and host the room."""
        self.send(connect({"token": token("alice")}), event("channel:join", {"channel": ROOM}, ack=0))
        await self.texts(3)


def event(name: str, payload: object, ack: int) -> str:
    """Write a command as clients do: without a space in it."""
    return f"42/chat,{ack}{json.dumps([name, payload], separators=(',', ':'))}"


def _texts(data: bytes) -> list[str]:
    return [payload.decode(errors="replace") for _, payload in Frames().feed(data)]


@asynccontextmanager
async def _connected() -> AsyncIterator[Scene]:
    loop = asyncio.get_running_loop()
    settings = Settings(
        _env_file=None,
        jwt_secret=SecretStr(SECRET),
        message_log=MessageLogKind.MEMORY,
        limit_tiers={"patient": {Bucket.SESSION: Rate(0.1, 200)}},
    )
    memory = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS)
    log = FaultyLog(memory)
    ours, peer = tcp_pair()
    peer.setblocking(False)
    async with AsyncExitStack() as resources, asyncio.TaskGroup() as tasks:
        stores = replace(await open_stores(settings, resources), log=log, marks=MemoryMarks(memory))
        server = compose(settings, stores, tasks, resources)
        await server.entries.revoked.replace(())  # nothing is revoked, as the store says at the start
        hearing = tasks.create_task(server.hub.run())
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        assert server.chat.eio.accept(transport, PlainHandshake({}), b"")
        while not (await loop.sock_recv(peer, 1 << 16)).endswith(b"}"):
            pass  # the 101 and Engine.IO's OPEN
        (connection,) = server.chat.eio.sockets.values()
        yield Scene(server, log, connection, peer)
        connection.abort(CloseReason.SERVER_STOPPED, "the scene ends")
        hearing.cancel()
        for loop_of_replica in server.loops():
            loop_of_replica.close()
    peer.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A client that has made its handshake."""
    async with _connected() as it:
        yield it


async def test_a_connect_is_answered_as_it_is_read(scene: Scene) -> None:
    """No task is made; the answer and `session:ready` are a single write."""
    assert scene.send(connect({"token": token("alice")})) == 0
    answer, ready = scene.queued
    session = scene.connection.session
    assert session is not None
    assert answer == f'40/chat,{{"sid":"{session.id}"}}'
    assert ready.startswith('42/chat,["session:ready",')
    assert scene.replica.chat.eio.registry.unconnected == {}
    assert await scene.texts(2) == [answer, ready]


async def test_a_refused_connect_is_answered_as_it_is_read(scene: Scene) -> None:
    """A CONNECT_ERROR; the token was looked at once, there is no session, and another CONNECT is waited for."""
    assert scene.send(connect({"token": "bad"})) == 0
    assert list(scene.replica.chat.eio.registry.unconnected) == [scene.connection]
    assert (scene.connection.session, len(scene.replica.sessions)) == (None, 0)
    (refusal,) = await scene.texts(1)
    assert refusal.startswith('44/chat,{"message":"')
    assert scene.send(connect({"token": token("alice")})) == 0
    assert (len(scene.replica.sessions), scene.replica.chat.eio.registry.unconnected) == (1, {})


async def test_nothing_is_left_of_a_session_that_its_client_leaves(scene: Scene) -> None:
    """Neither a member of a room nor a session, though the WebSocket stays; the next session is another one."""
    await scene.enter()
    first = scene.connection.session
    assert first is not None
    scene.send("41/chat,")
    await polled(lambda: not len(scene.replica.sessions), DEADLINE_S, lambda: "the session goes on")
    rooms = scene.replica.chat.manager
    assert isinstance(rooms, Rooms)
    assert (rooms.has_members(ChannelName(ROOM)), rooms.channels(first.id), rooms.connection(first.id)) == (
        False,
        (),
        None,
    )
    assert (first.ended, len(scene.replica.sessions)) == (True, 0)
    assert list(rooms.get_participants("/chat", first.id)) == []
    assert scene.send(connect({"token": token("alice")})) == 0
    second = scene.connection.session
    assert second is not None
    assert second.id != first.id
    assert rooms.connection(second.id) is scene.connection
    assert rooms.channels(second.id) == ()


async def test_a_new_session_gains_no_rates(scene: Scene) -> None:
    """A client that leaves and comes back on its WebSocket has what it had left: each CONNECT is a command, and those
    that are too many are refused, with the wait. The WebSocket ends with the fifth."""
    hello = connect({"token": token("alice", tier="patient")})  # who earns nothing while this test runs
    leave = event("channel:leave", {"channel": ROOM}, ack=1)
    scene.send(hello, *[leave] * 190, "41/chat,", *[hello, "41/chat,"] * 20)
    await polled(lambda: not scene.connection.is_open(), DEADLINE_S, lambda: "it goes on")
    texts: list[str] = []
    while scene.connection.refusals > sum(text.startswith("44/chat,") for text in texts):
        texts += await scene.texts_now()
    accepted = sum(text.startswith("40/chat,") for text in texts)
    assert 8 <= accepted <= 13
    refusals = [json.loads(text.removeprefix("44/chat,")) for text in texts if text.startswith("44/chat,")]
    assert len(refusals) == MAX_REFUSALS
    for refusal in refusals:
        assert (refusal["message"], refusal["data"]["retryable"]) == ("rate_limited", True)
        assert 0 < refusal["data"]["retry_after_ms"] <= 10_000


async def test_refusals_are_remembered_in_the_next_session(scene: Scene) -> None:
    """So is what counts against a client that is refused again and again."""
    await scene.enter()
    first = scene.connection.session
    scene.send(event("no:such", {}, ack=1))
    await scene.texts(1)
    scene.send("41/chat,")
    await polled(lambda: not len(scene.replica.sessions), DEADLINE_S, lambda: "the session goes on")
    scene.send(connect({"token": token("bob")}))
    second = scene.connection.session
    assert first is not None
    assert second is not None
    assert second.refusals is first.refusals is not None


@pytest.mark.parametrize(
    "packet",
    [
        "0/chat,{",
        '0/chat,["token"]',
        "0/other,{}",
        "0{}",
        event("channel:join", {"channel": ROOM}, ack=1)[1:],
    ],
)
async def test_another_packet_before_the_connect_takes_the_ordinary_way(scene: Scene, packet: str) -> None:
    """It is judged by the task, which refuses it or closes the connection; nothing is open before."""
    assert scene.send(f"4{packet}") == 1
    assert scene.connection.is_open()
    await scene.texts(1)
    assert scene.connection.is_open() == (packet.startswith("0") and packet != "0/chat,{")
    assert scene.connection.session is None


async def test_a_connect_that_resumes_takes_the_ordinary_way(scene: Scene) -> None:
    """It waits for the channel to be hosted; then everything is told in its order."""
    since = {ROOM: {"epoch": "e", "offset": 1}}
    assert scene.send(connect({"token": token("alice"), "resume": since})) == 1
    names = [text.partition('"')[2].partition('"')[0] for text in await scene.texts(3)]
    assert names == ["sid", "channel:resumed", "session:ready"]


async def test_a_second_connect_is_hostile_as_ever(scene: Scene) -> None:
    """The first one's session ends with the connection."""
    hello = connect({"token": token("alice")})
    scene.send(hello, hello)
    await scene.texts(3)
    assert not scene.connection.is_open()


async def test_a_join_of_a_hosted_channel_is_answered_as_it_is_read(scene: Scene) -> None:
    """The client has no task: its mark is read with those of others. Then the session is a member in the step in which
    it is answered, and the answer is what the ordinary way gives."""
    await scene.enter()
    scene.send(event("channel:leave", {"channel": ROOM}, ack=1))
    await scene.texts(1)
    assert scene.send(event("channel:join", {"channel": ROOM}, ack=2)) == 0
    session = scene.connection.session
    assert session is not None
    participants = partial(scene.replica.chat.manager.get_participants, "/chat", ROOM)
    assert list(participants()) == []
    (answer,) = await scene.texts(1)
    assert list(participants()) == [(session.id, scene.connection.id)]
    assert answer.startswith("43/chat,2[")
    body = json.loads(answer[len("43/chat,2[") : -1])
    epoch = (await scene.log.inner.read(ChannelName(ROOM), 0, 0)).head.epoch
    mark = {"read_offset": 0, "unread": 0, "unread_mentions": 0}
    assert body == {"ok": True, "channel": ROOM, "epoch": epoch, "offset": 0, "recovered": None, "events": []} | mark


async def test_joins_without_a_task_are_answered_in_their_order(scene: Scene) -> None:
    """Also if one of them has to be done the ordinary way, since something has happened until its mark was there. A
    message behind one that is to be repeated is to be repeated, too."""
    await scene.enter()
    scene.send(event("channel:join", {"channel": "room:2"}, ack=1))
    await scene.texts(1)
    joins = [event("channel:join", {"channel": room}, ack=number) for number, room in ((2, ROOM), (3, "room:2"))]
    assert scene.send(*joins) == 0
    session = scene.connection.session
    assert session is not None
    scene.replica.hub.quarantine.add(ChannelName(ROOM), ValueError("a fault"))
    assert scene.send(event("message:send", {"channel": "room:2", "text": "x"}, ack=4)) == 1
    answers = await scene.texts(3)
    assert [text[: len("43/chat,2")] for text in answers] == [f"43/chat,{number}" for number in (2, 3, 4)]
    assert ["unavailable" in text for text in answers] == [True, False, True]


async def test_a_session_that_ends_while_its_mark_is_read_joins_nothing(scene: Scene) -> None:
    """It is answered all the same, if it hears it."""
    await scene.enter()
    scene.send(event("channel:join", {"channel": ROOM}, ack=2))
    session = scene.connection.session
    assert session is not None
    scene.replica.sessions.close(session)
    (answer,) = await scene.texts(1)
    assert "unauthenticated" in answer


ORDINARY = {
    "a channel that is not hosted": {"channel": "room:2"},
    "history": {"channel": ROOM, "history": 10},
    "a position": {"channel": ROOM, "since": {"epoch": "e", "offset": 0}},
    "no grant": {"channel": "other"},
    "no name": {"channel": "A B"},
}


@pytest.mark.parametrize("payload", ORDINARY.values(), ids=ORDINARY)
async def test_any_other_join_takes_the_ordinary_way(scene: Scene, payload: dict[str, object]) -> None:
    """Events are asked for, something has to be waited for, or the join is to be refused: it is answered once."""
    await scene.enter()
    assert scene.send(event("channel:join", payload, ack=1)) == 1
    (answer,) = await scene.texts(1)
    assert answer.startswith("43/chat,1[")


async def test_a_join_waits_for_the_sends_before_it(scene: Scene) -> None:
    """Its answer is behind theirs, though it has to wait for nothing by itself: a client reads them in their order."""
    await scene.enter()
    scene.log.before = gate = Gate()
    sends = [event("message:send", {"channel": "room:else", "text": "x"}, ack=number) for number in (1, 2)]
    scene.send(*sends)
    assert scene.send(event("channel:join", {"channel": ROOM}, ack=3)) == 1
    assert scene.queued == []
    gate.open()
    assert [text.partition("[")[0] for text in await scene.texts(3)] == [f"43/chat,{number}" for number in (1, 2, 3)]


async def test_a_fault_ends_its_own_connection(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in what is handled as it is read closes the connection in an orderly way, and reaches nobody."""
    await scene.enter()
    monkeypatch.setattr(scene.replica.chat.manager, "present", _fails)
    scene.send(event("channel:join", {"channel": ROOM}, ack=1))
    assert scene.connection.cause is CloseReason.INTERNAL_ERROR


def _fails(*_: object) -> bool:
    raise RuntimeError("a fault of ours")
