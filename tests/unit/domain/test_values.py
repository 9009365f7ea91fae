"""Values of messages: immutable to the type checker, compared by their fields, small."""

from dataclasses import fields, is_dataclass, replace

import pytest

from server.domain.appending import Appended
from server.domain.drafts import Deletion, NewMessage, Revision
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited, MessageErased, UnknownEvent
from server.domain.identity import Author
from server.domain.messages import Message, Position, Tombstone
from server.domain.rings import EncodedEvent
from server.domain.sequencing import Gap, Known, OtherEpoch, Ready
from tests.doubles.samples import event, new_message

VALUES = [
    Appended,
    Author,
    Deletion,
    EncodedEvent,
    Gap,
    Known,
    Message,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    NewMessage,
    OtherEpoch,
    Position,
    Ready,
    Revision,
    Tombstone,
    UnknownEvent,
]


def test_the_type_checker_refuses_to_change_a_value() -> None:
    """At runtime nobody does. `make check` fails on a comment that suppresses no error, so this line proves it."""
    place = Position("one", 1)
    place.offset = 2  # type: ignore[misc]
    assert place == Position("one", 2)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_a_value_has_its_fields_alone(kind: type) -> None:
    """Without a dict for each instance, and without the price of a frozen dataclass."""
    assert is_dataclass(kind)
    assert kind.__dict__.get("__slots__") == tuple(field.name for field in fields(kind))
    assert kind.__setattr__ is object.__setattr__


def test_values_are_compared_and_hashed_by_their_fields() -> None:
    """Equal fields, equal values; another class with the same fields is another value."""
    assert event(1) == event(1)
    assert hash(event(1)) == hash(event(1))
    assert len({event(1), event(1), event(2)}) == 2
    created = event(1)
    edited: Event = MessageEdited(created.channel, created.epoch, created.offset, created.at, created.message)
    assert edited != created


def test_values_can_be_copied_matched_and_shown() -> None:
    """As those of any dataclass."""
    draft = new_message(1)
    assert replace(draft, text="better").text == "better"
    assert draft.text == "number 1"
    match Position("one", 7):
        case Position(epoch, offset):
            assert (epoch, offset) == ("one", 7)
    assert repr(Position("one", 7)) == "Position(epoch='one', offset=7)"
