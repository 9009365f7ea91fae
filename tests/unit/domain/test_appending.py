"""The rules of the log, as a table: each kind of draft against each state that a message can be in."""

from dataclasses import replace

import pytest

from server.domain.appending import (
    Appended,
    already_deleted,
    created,
    decide,
    id_taken,
    not_found,
    recreated,
    revised,
)
from server.domain.drafts import Deletion, Draft, Revision
from server.domain.errors import MaruError
from server.domain.events import MessageChange, MessageDeleted, MessageEdited, MessageEvent, state_after
from server.domain.messages import Position, Tombstone
from tests.doubles.samples import NOW_MS, ROOM, new_message, some_id

NEXT = Position("one", 9)

DRAFT = replace(new_message(1, key="k"), data={"old": 1}, reply_to=some_id(3))
REVISION = Revision(ROOM, DRAFT.id, "better", None, keep_data=True, at=NOW_MS + 50)
DELETION = Deletion(ROOM, DRAFT.id, at=NOW_MS + 60)

CREATED = created(DRAFT, Position("one", 7))
EDITED = MessageEdited(ROOM, "one", 8, NOW_MS + 50, revised(CREATED.message, REVISION))
DELETED = MessageDeleted(ROOM, "one", 8, NOW_MS + 40, DRAFT.id)


@pytest.mark.parametrize(
    ("draft", "present", "event"),
    [
        (DRAFT, None, created(DRAFT, NEXT)),
        (REVISION, CREATED, MessageEdited(ROOM, "one", 9, REVISION.at, revised(CREATED.message, REVISION))),
        (REVISION, EDITED, MessageEdited(ROOM, "one", 9, REVISION.at, revised(EDITED.message, REVISION))),
        (DELETION, CREATED, MessageDeleted(ROOM, "one", 9, DELETION.at, DRAFT.id)),
        (DELETION, EDITED, MessageDeleted(ROOM, "one", 9, DELETION.at, DRAFT.id)),
    ],
)
def test_a_draft_becomes_an_event_at_the_next_position(
    draft: Draft, present: MessageChange | None, event: MessageEvent
) -> None:
    """A draft that the state allows becomes a new event of its kind, with the time of the draft."""
    assert decide(draft, present, NEXT) == Appended(event, duplicate=False)


@pytest.mark.parametrize(
    ("draft", "present", "refusal"),
    [
        (DRAFT, CREATED, id_taken()),
        (DRAFT, EDITED, id_taken()),
        (DRAFT, DELETED, id_taken()),
        (REVISION, None, not_found()),
        (REVISION, DELETED, already_deleted()),
        (DELETION, None, not_found()),
    ],
)
def test_a_draft_that_the_state_rules_out_is_refused(
    draft: Draft, present: MessageChange | None, refusal: MaruError
) -> None:
    """Each refusal has its error and its one text."""
    with pytest.raises(type(refusal)) as raised:
        decide(draft, present, NEXT)
    assert raised.value.message == refusal.message


def test_a_second_deletion_is_the_first() -> None:
    """It writes nothing, and is answered with the event of the first one."""
    assert decide(DELETION, DELETED, NEXT) == Appended(DELETED, duplicate=True)


def test_the_texts_repeat_nothing_of_the_command() -> None:
    """PROTOCOL.md, "Commands": errors repeat nothing that a client sent. No two refusals share a text."""
    texts = {refusal.message for refusal in (not_found(), already_deleted(), id_taken())}
    assert len(texts) == 3
    assert not any(part in text for text in texts for part in (DRAFT.id, ROOM))


def test_a_new_message_becomes_a_creation_at_its_position() -> None:
    """The event and its message carry the position, the content of the draft, and the first version."""
    creation = created(DRAFT, Position("one", 7))
    message = creation.message
    assert (creation.channel, creation.epoch, creation.offset, creation.at) == (ROOM, "one", 7, DRAFT.at)
    assert (message.id, message.channel, message.author) == (DRAFT.id, ROOM, DRAFT.author)
    assert (message.text, message.data, message.reply_to, message.key) == (DRAFT.text, {"old": 1}, some_id(3), "k")
    assert (message.created_at, message.edited_at, message.version, message.offset) == (DRAFT.at, None, 1, 7)


def test_a_dropped_creation_is_rebuilt_from_its_repeat() -> None:
    """Place, id and time are those of the first message, the content is that of the repeat."""
    repeat = replace(DRAFT, id=some_id(2), at=NOW_MS + 99)
    assert recreated(repeat, DRAFT.id, DRAFT.at, Position("one", 7)) == CREATED


@pytest.mark.parametrize(
    ("keep", "data", "expected"), [(True, None, {"old": 1}), (False, None, None), (False, {"new": 2}, {"new": 2})]
)
def test_a_revision_is_the_next_version_in_the_old_place(
    keep: bool, data: dict[str, int] | None, expected: dict[str, int] | None
) -> None:
    """Text, `edited_at` and version move on, `data` as the revision says; everything else stays, the offset too."""
    first = CREATED.message
    revision = Revision(ROOM, first.id, "better", data, keep_data=keep, at=first.created_at + 5)
    assert revised(first, revision) == replace(
        first, text="better", data=expected, edited_at=first.created_at + 5, version=2
    )
    assert revised(revised(first, revision), revision).version == 3


def test_the_state_of_a_message_is_that_of_its_last_event() -> None:
    """The message as it was created or edited last; after a deletion its place, which is that of the creation."""
    assert state_after(CREATED, 7) == CREATED.message
    assert state_after(EDITED, 7) == EDITED.message
    assert state_after(DELETED, 7) == Tombstone(DRAFT.id, ROOM, 7)
