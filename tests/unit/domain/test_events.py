"""Which events of a log clients are given."""

from server.domain.events import MessageDeleted, MessageEdited, MessageErased, erased, log_events, without_deleted
from tests.doubles.samples import NOW_MS, ROOM, event, some_id, unknown


def test_events_of_unknown_kinds_are_left_out() -> None:
    """The events of messages stay, in their order and at their offsets."""
    edited = MessageEdited(ROOM, "one", 3, NOW_MS, event(1).message)
    deleted = MessageDeleted(ROOM, "one", 4, NOW_MS, some_id(1))
    assert log_events([event(1), unknown(2), edited, deleted, unknown(5)]) == (event(1), edited, deleted)
    assert log_events([unknown(1)]) == log_events([]) == ()


def test_an_erased_event_keeps_its_place() -> None:
    """Offset, epoch, time, id and kind stay; the content goes."""
    creation = event(1)
    edit = MessageEdited(ROOM, "one", 3, NOW_MS + 9, creation.message)
    assert erased(creation) == MessageErased(ROOM, "one", 1, creation.at, some_id(1), 1, edited=False)
    assert erased(edit) == MessageErased(ROOM, "one", 3, NOW_MS + 9, some_id(1), 1, edited=True)


def test_a_deletion_erases_the_events_beside_it() -> None:
    """Only those of its own message; a sequence without a deletion stays as it is."""
    edit = MessageEdited(ROOM, "one", 3, NOW_MS + 9, event(1).message)
    deletion = MessageDeleted(ROOM, "one", 4, NOW_MS, some_id(1))
    row = (event(1), event(2), edit, deletion, unknown(5))
    assert without_deleted(row) == (erased(event(1)), event(2), erased(edit), deletion, unknown(5))
    assert without_deleted(row[:3]) == row[:3]
