"""Which events of a log clients are given."""

from server.domain.events import MessageDeleted, MessageEdited, message_events
from tests.doubles.samples import NOW_MS, ROOM, event, some_id, unknown


def test_events_of_unknown_kinds_are_left_out() -> None:
    """The events of messages stay, in their order and at their offsets."""
    edited = MessageEdited(ROOM, "one", 3, NOW_MS, event(1).message)
    deleted = MessageDeleted(ROOM, "one", 4, NOW_MS, some_id(1))
    assert message_events([event(1), unknown(2), edited, deleted, unknown(5)]) == (event(1), edited, deleted)
    assert message_events([unknown(1)]) == message_events([]) == ()
