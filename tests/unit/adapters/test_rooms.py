"""Rooms: the audience that is kept for a room is always that of its members now."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.rooms import Rooms

NAMESPACE = "/chat"
NAMES = ("room:a", "room:b")
CLIENTS = 4


class Scene:
    """Four clients, admitted; a connection is stood for by its name."""

    def __init__(self, rooms: Rooms) -> None:
        ids = count()
        self.rooms = rooms
        self.rooms.server = SimpleNamespace(
            eio=SimpleNamespace(
                generate_id=lambda: f"sid-{next(ids)}", sockets={f"c{n}": f"c{n}" for n in range(CLIENTS)}
            )
        )
        self.sids = [self.rooms.admit(f"c{number}", NAMESPACE) for number in range(CLIENTS)]
        self.members: dict[str, set[str]] = {name: set() for name in NAMES}

    def enter(self, client: int, room: str) -> None:
        """A join; of one who is gone, nothing."""
        self.rooms.basic_enter_room(self.sids[client], NAMESPACE, room)
        if self.rooms.is_connected(self.sids[client], NAMESPACE):
            self.members[room].add(f"c{client}")

    def leave(self, client: int, room: str) -> None:
        """A leave."""
        self.rooms.basic_leave_room(self.sids[client], NAMESPACE, room)
        self.members[room].discard(f"c{client}")

    def go(self, client: int, _room: str) -> None:
        """The end of a connection, and a new one of the same client."""
        self.rooms.basic_disconnect(self.sids[client], NAMESPACE)
        for members in self.members.values():
            members.discard(f"c{client}")
        self.sids[client] = self.rooms.admit(f"c{client}", NAMESPACE)

    def right(self) -> bool:
        """Whether each room's audience is its members."""
        return all(set(self.rooms.audience(NAMESPACE, name)) == self.members[name] for name in NAMES)


STEPS: dict[str, Callable[[Scene, int, str], None]] = {"enter": Scene.enter, "leave": Scene.leave, "go": Scene.go}


def always_right(rooms: Rooms, steps: list[tuple[str, int, str]]) -> bool:
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
def test_an_audience_is_the_members(steps: list[tuple[str, int, str]]) -> None:
    """Whoever comes, goes or comes back, and however often the audience is asked for in between."""
    assert always_right(Rooms(), steps)


class _KeepsForEver(dict[str, list[object]]):
    """An index that forgets nothing."""

    def pop(self, *_: object) -> list[object]:
        """Keep it all the same."""
        return []


@pytest.mark.parametrize("then", [("enter", 1, "room:a"), ("leave", 0, "room:a"), ("go", 0, "room:a")])
def test_the_property_can_fail(then: tuple[str, int, str]) -> None:
    """An audience that is kept although somebody came or went is noticed, for each way of coming and going."""
    stale = Rooms()
    stale._audiences = _KeepsForEver()  # noqa: SLF001  # broken on purpose
    steps = [("enter", 0, "room:a"), then]
    assert always_right(Rooms(), steps)
    assert not always_right(stale, steps)


def test_nothing_is_kept_of_a_room_without_members() -> None:
    """Names that were asked for once do not pile up."""
    rooms = Rooms()
    scene = Scene(rooms)
    for number in range(100):
        assert rooms.audience(NAMESPACE, f"room:{number}") == []
    scene.enter(0, "room:a")
    assert rooms.audience(NAMESPACE, "room:a") == ["c0"]
    scene.go(0, "room:a")
    assert rooms.audience(NAMESPACE, "room:a") == []
    assert not rooms._audiences  # noqa: SLF001  # what is kept is the point
