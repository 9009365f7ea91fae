"""Rooms: the audience that is kept for a room is always that of its members now."""

import asyncio
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.writer import Writer
from server.ports.metrics import SILENT, Traffic
from server.wire.words import NAMESPACE

NAMES = (ChannelName("room:a"), ChannelName("room:b"))
CLIENTS = 4


class Scene:
    """Four clients, admitted; a connection is stood for by its name."""

    def __init__(self, rooms: Rooms) -> None:
        self._ids = count()
        self.rooms = rooms
        self.sessions = [self._admit(number) for number in range(CLIENTS)]
        self.members: dict[str, set[object]] = {name: set() for name in NAMES}

    def _admit(self, client: int) -> SessionId:
        session = SessionId(f"session-{next(self._ids)}")
        self.rooms.admit(session, named(client))
        return session

    def enter(self, client: int, room: ChannelName) -> None:
        """A join."""
        self.rooms.enter(self.sessions[client], room)
        self.members[room].add(f"c{client}")

    def leave(self, client: int, room: ChannelName) -> None:
        """A leave."""
        self.rooms.leave(self.sessions[client], room)
        self.members[room].discard(f"c{client}")

    def go(self, client: int, _room: ChannelName) -> None:
        """The end of a connection, and a new one of the same client."""
        self.rooms.forget(self.sessions[client])
        for members in self.members.values():
            members.discard(f"c{client}")
        self.sessions[client] = self._admit(client)

    def right(self) -> bool:
        """Whether each room's audience is its members."""
        return all(set(self.rooms.audience(name)) == self.members[name] for name in NAMES)


def named(client: int) -> Connection:
    """A connection whose writer is a name: rooms only hand it on."""
    return cast(Connection, SimpleNamespace(writer=f"c{client}"))


def unused_outbox() -> Outbox:
    """An outbox that is never written to, so that its loop need not run."""
    loop = asyncio.new_event_loop()
    loop.close()
    return Outbox(loop, 1, Traffic(), SILENT)


def new_rooms() -> Rooms:
    """Rooms over an outbox that is never written to."""
    return Rooms(unused_outbox())


STEPS: dict[str, Callable[[Scene, int, ChannelName], None]] = {
    "enter": Scene.enter,
    "leave": Scene.leave,
    "go": Scene.go,
}


def always_right(rooms: Rooms, steps: list[tuple[str, int, ChannelName]]) -> bool:
    """Whether the audiences are right after each of the steps."""
    scene = Scene(rooms)
    for step, client, room in steps:
        STEPS[step](scene, client, room)
        if not scene.right():
            return False
    return True


@given(
    st.lists(st.tuples(st.sampled_from(tuple(STEPS)), st.integers(0, CLIENTS - 1), st.sampled_from(NAMES)), max_size=30)
)
def test_an_audience_is_the_members(steps: list[tuple[str, int, ChannelName]]) -> None:
    """Whoever comes, goes or comes back, and however often the audience is asked for in between."""
    assert always_right(new_rooms(), steps)


class _KeepsForEver(Rooms):
    """Rooms whose audiences are copies that are never renewed."""

    def __init__(self) -> None:
        super().__init__(unused_outbox())
        self._kept: dict[ChannelName, list[Writer]] = {}

    def audience(self, channel: ChannelName) -> list[Writer]:
        """Return the first audience that had a member."""
        found = list(super().audience(channel))
        return self._kept.setdefault(channel, found) if found else self._kept.get(channel, found)


@pytest.mark.parametrize("then", [("enter", 1, NAMES[0]), ("leave", 0, NAMES[0]), ("go", 0, NAMES[0])])
def test_the_property_can_fail(then: tuple[str, int, ChannelName]) -> None:
    """An audience that is kept although somebody came or went is noticed, for each way of coming and going."""
    steps = [("enter", 0, NAMES[0]), then]
    assert always_right(new_rooms(), steps)
    assert not always_right(_KeepsForEver(), steps)


def test_an_audience_is_never_made_anew() -> None:
    """A large room's audience follows its members: a join or a leave costs the same in a room of any size."""
    rooms = new_rooms()
    scene = Scene(rooms)
    scene.enter(0, NAMES[0])
    audience = rooms.audience(NAMES[0])
    scene.enter(1, NAMES[0])
    assert list(audience) == [named(0).writer, named(1).writer]
    scene.leave(0, NAMES[0])
    assert list(audience) == [named(1).writer]


def test_nothing_is_kept_of_a_room_without_members() -> None:
    """Names that were asked for once do not pile up."""
    rooms = new_rooms()
    scene = Scene(rooms)
    for number in range(100):
        assert list(rooms.audience(ChannelName(f"room:{number}"))) == []
    scene.enter(0, NAMES[0])
    assert list(rooms.audience(NAMES[0])) == [named(0).writer]
    scene.go(0, NAMES[0])
    assert list(rooms.audience(NAMES[0])) == []
    assert not rooms._members  # noqa: SLF001  # what is kept is the point


def test_a_session_that_is_gone_is_ignored() -> None:
    """It enters nothing, leaves nothing, and leaving twice is no error (`Membership`, promise 3)."""
    rooms = new_rooms()
    scene = Scene(rooms)
    gone = scene.sessions[0]
    scene.enter(0, NAMES[0])
    rooms.forget(gone)
    rooms.enter(gone, NAMES[0])
    rooms.leave(gone, NAMES[0])
    assert (rooms.channels(gone), rooms.members(NAMES[0]), rooms.connection(gone)) == ((), (), None)
    assert rooms.end(gone) == ()


def test_the_end_of_a_session_leaves_every_channel() -> None:
    """`end` returns the channels that it left; the session is still open, and may enter again."""
    rooms = new_rooms()
    scene = Scene(rooms)
    session = scene.sessions[0]
    for room in NAMES:
        rooms.enter(session, room)
    assert rooms.end(session) == NAMES
    assert (rooms.channels(session), rooms.has_members(NAMES[0])) == ((), False)
    rooms.enter(session, NAMES[0])
    assert rooms.members(NAMES[0]) == (session,)


def test_python_socketio_finds_the_members() -> None:
    """Its own `emit` reaches one room or one client; without an address it is an error, not everybody."""
    rooms = new_rooms()
    session = SessionId("session")
    connection = cast(Connection, SimpleNamespace(id="connection", writer="writer"))
    rooms.admit(session, connection)
    rooms.basic_enter_room(session, NAMESPACE, "room:a")
    pair = [("session", "connection")]
    assert list(rooms.get_participants(NAMESPACE, "room:a")) == list(rooms.get_participants(NAMESPACE, session)) == pair
    rooms.basic_leave_room(session, NAMESPACE, "room:a")
    assert list(rooms.get_participants(NAMESPACE, "room:a")) == []


@pytest.mark.parametrize("address", ["", None, []])
def test_an_emit_needs_an_address(address: object) -> None:
    """python-socketio takes an empty one for everybody; here it is an error."""
    with pytest.raises(ValueError, match="reach everybody"):
        next(new_rooms().get_participants(NAMESPACE, address))
