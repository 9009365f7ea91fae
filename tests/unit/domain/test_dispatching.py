"""Where a debt stands in its log, also after the log has begun a new epoch; and who leads."""

import pytest

from server.domain.channels import ChannelName
from server.domain.dispatching import Debt, Leads, covers, owe
from server.domain.messages import Position
from server.domain.replicas import ReplicaId

ROOM = ChannelName("room:1")
DELIVERED = Position("old", 5)


@pytest.mark.parametrize(
    ("debt", "head", "place"),
    [
        (Debt(ROOM, DELIVERED), Position("old", 9), DELIVERED),
        (Debt(ROOM, DELIVERED), Position("new", 9), Position("new", 5)),  # the events up to 5 are those of before
        (Debt(ROOM, DELIVERED), Position("new", 3), Position("new", 3)),  # the log came back shorter
        (Debt(ROOM, DELIVERED), Position("new", 0), Position("new", 0)),  # the log is lost
        (Debt(ROOM, DELIVERED, Position("new", 2)), Position("new", 9), Position("new", 2)),
        (Debt(ROOM, DELIVERED, Position("new", 2)), Position("newer", 9), Position("newer", 2)),
        (Debt(ROOM, DELIVERED, Position("new", 2)), Position("newer", 1), Position("newer", 1)),
    ],
)
def test_an_endpoint_goes_on_where_nothing_is_skipped(debt: Debt, head: Position, place: Position) -> None:
    """In the epoch of the log: behind what it has, as far as that is there."""
    assert debt.place(head) == place


@pytest.mark.parametrize(
    ("debt", "head", "owed"),
    [
        (None, Position("old", 4), Debt(ROOM, Position("old", 4))),
        (Debt(ROOM, DELIVERED), Position("old", 9), Debt(ROOM, DELIVERED)),
        (Debt(ROOM, DELIVERED), Position("new", 3), Debt(ROOM, DELIVERED, Position("new", 3))),
        (
            Debt(ROOM, DELIVERED, Position("new", 3)),
            Position("new", 8),
            Debt(ROOM, DELIVERED, Position("new", 3)),
        ),
        (
            Debt(ROOM, DELIVERED, Position("new", 3)),
            Position("newer", 0),
            Debt(ROOM, DELIVERED, Position("newer", 0)),
        ),
    ],
)
def test_an_append_owes_its_events(debt: Debt | None, head: Position, owed: Debt) -> None:
    """From the head on if nothing was owed; and a debt of an old epoch remembers where the new one began."""
    assert owe(debt, ROOM, head) == owed


@pytest.mark.parametrize(
    ("patterns", "covered"),
    [
        ([], True),
        (["*"], True),
        (["room:*"], True),
        (["room:1"], True),
        (["room:1*"], True),
        (["dm:*", "room:*"], True),
        (["room:10"], False),
        (["room"], False),
        (["dm:*"], False),
    ],
)
def test_patterns_cover_channels(patterns: list[str], covered: bool) -> None:
    """As in grants; and no patterns are all channels."""
    assert covers(patterns, ROOM) is covered


def test_a_single_replica_leads() -> None:
    """Until its lead ends, by time or by its own word."""
    leads, one, two = Leads(10.0), ReplicaId("one"), ReplicaId("two")
    assert leads.take("crm", one, 0.0)
    assert not leads.take("crm", two, 9.0)
    assert leads.take("crm", one, 9.0)
    assert not leads.take("crm", two, 18.0)
    assert leads.take("other", two, 18.0)
    assert leads.take("crm", two, 19.0)
    leads.end("crm", one)
    assert not leads.take("crm", one, 19.0)
    leads.end("crm", two)
    leads.end("unknown", two)
    assert leads.take("crm", one, 19.0)
