"""Messages and events as the strings that Redis keeps, damaged ones too."""

from dataclasses import replace

import pytest

from server.adapters.codec import DecodeError
from server.adapters.redis.entries import decode_entry, decode_state, encode_by, encode_content, encode_entry
from server.domain.drafts import NewMessage
from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, MessageErased, UnknownEvent
from server.domain.identity import Author, UserId
from server.domain.messages import Message, Tombstone, author_digest
from tests.doubles.samples import ROOM, new_message, some_id

MODERATOR = Author(UserId("m"), "M o")

DRAFTS = [
    new_message(1),
    replace(new_message(1), data={}, key="", text=""),
    replace(new_message(1), data={"a": [1, 2.5, None, "마루"]}, key="k", reply_to=some_id(2), text="a\x00b 🙂"),
    replace(new_message(1), author=Author(UserId("x y"), None)),
]


def creation(draft: NewMessage) -> bytes:
    """The entry that `append.lua` writes at offset 5."""
    return b"c %d 7 5 %d 1 0 %b" % (draft.at, draft.at, encode_content(draft))


def message(draft: NewMessage) -> Message:
    """The message in the entry at offset 5."""
    return Message(
        id=draft.id,
        channel=ROOM,
        author=draft.author,
        text=draft.text,
        data=draft.data,
        reply_to=draft.reply_to,
        key=draft.key,
        created_at=draft.at,
        edited_at=None,
        version=1,
        offset=5,
    )


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_creation_is_read_as_it_was_sent(draft: NewMessage) -> None:
    """To the letter; no data is not an empty object, no name is not an empty one."""
    event = decode_entry(ROOM, "e", 5, creation(draft))
    assert event == MessageCreated(ROOM, "e", 5, draft.at, message(draft))


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_state_is_the_event_that_made_it(draft: NewMessage) -> None:
    """The creation's, an edit's, or a deletion's, of which the message's place is left."""
    assert decode_state(ROOM, draft.id, 5, creation(draft)) == message(draft)
    assert decode_state(ROOM, draft.id, 5, edited(draft)) == edit(draft)
    assert decode_state(ROOM, draft.id, 5, b"d 9 100") == Tombstone(draft.id, ROOM, 5)
    assert decode_state(ROOM, draft.id, 5, b'd 9 100 ["m","M o"]') == Tombstone(draft.id, ROOM, 5, MODERATOR)


def edited(draft: NewMessage) -> bytes:
    """The entry that `append.lua` writes of an edit."""
    changed = encode_content(replace(draft, text="", data={"b": 1}))
    sizes, _, content = changed.partition(b" 0 ")
    by = encode_by(MODERATOR)
    return b"e 99 7 5 %d 2 4 %b %d %b%bnew text" % (draft.at, sizes, len(by), content, by)


def edit(draft: NewMessage) -> Message:
    """The message in that entry."""
    return replace(message(draft), text="new text", data={"b": 1}, edited_at=99, version=2, edited_by=MODERATOR)


@pytest.mark.parametrize("draft", DRAFTS)
def test_an_edit_is_the_whole_new_state(draft: NewMessage) -> None:
    """At the offset of its own, with the message's creation inside."""
    assert decode_entry(ROOM, "e", 8, edited(draft)) == MessageEdited(ROOM, "e", 8, 99, edit(draft))


def test_an_erased_event_has_its_place() -> None:
    """The message, its creation's offset, and the kind of event that stood there."""
    id = some_id(1)
    for word, was_edit in ((b"0", False), (b"1", True)):
        packed = b"x 99 7 5 %b %b" % (word, id.encode())
        assert decode_entry(ROOM, "e", 9, packed) == MessageErased(ROOM, "e", 9, 99, id, 5, was_edit)


def test_an_erased_creation_has_its_author() -> None:
    """As a digest, which the tombstone takes over; an earlier version wrote none."""
    digest = author_digest(some_id(1), UserId("alice"))
    event = MessageErased(ROOM, "e", 5, 99, some_id(1), 5, False, digest)
    packed = encode_entry(event)
    assert packed == b"x 99 99 5 %b %b" % (digest.encode(), some_id(1).encode())
    decoded = decode_entry(ROOM, "e", 5, packed)
    tombstone = decode_state(ROOM, some_id(1), 5, b"d 9 100", packed)
    assert isinstance(decoded, MessageErased)
    assert isinstance(tombstone, Tombstone)
    assert decoded.author == tombstone.author == digest
    before = decode_state(ROOM, some_id(1), 5, b"d 9 100", packed.replace(digest.encode(), b"0"))
    assert isinstance(before, Tombstone)
    assert before.author is None


def test_a_deletion_names_the_message() -> None:
    """And the moderator, if one deleted it."""
    by = b"d 99 7 " + some_id(1).encode() + b' ["m","M o"]'
    assert decode_entry(ROOM, "e", 9, by) == MessageDeleted(ROOM, "e", 9, 99, some_id(1), MODERATOR)
    packed = b"d 99 7 " + some_id(1).encode()
    assert decode_entry(ROOM, "e", 9, packed) == MessageDeleted(ROOM, "e", 9, 99, some_id(1))


@pytest.mark.parametrize("kind", ["z", "pinned", "r" * 64])
def test_an_entry_of_an_unknown_kind_keeps_its_place(kind: str) -> None:
    """A newer version's entry is no deletion: it has a time, and the rest means nothing here."""
    packed = f"{kind} 99 7 {some_id(1)} 👍 and so on and on and on".encode()
    assert decode_entry(ROOM, "e", 9, packed) == UnknownEvent(ROOM, "e", 9, 99, kind)
    assert decode_entry(ROOM, "e", 9, f"{kind} 99 7".encode()) == UnknownEvent(ROOM, "e", 9, 99, kind)


WHOLE = creation(DRAFTS[2])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"c",
        b"r",
        b"r 99",
        b"r 99 x",
        b"r 9x 7",
        b"R 99 7",
        b"7 99 7",
        b"r" * 65 + b" 99 7",
        b" 99 7",
        b"\xff 99 7",
        b"d 99 7",
        b"d 99 7 \xff",
        b"d 99 7 one two",
        b'd 99 7 one ["user"]',
        b"x 99 7 5 0",
        b"x 99 7 -5 0 one",
        b"r 253402300800000 7",
        b"r -1 7",
        b'c 7 7 5 7 1 0 15 3 0 ["i",7,"n",0,0][1]text',
        b'c 7 7 5 7 1 0 20 3 0 ["i","u",null,0,null][1]text',
        b"d 9 100",
        WHOLE.replace(b"c ", b"c x", 1),
    ],
)
def test_a_damaged_entry_is_refused(packed: bytes) -> None:
    """An entry of another shape is a `DecodeError`: it is no deletion, and of no unknown kind."""
    with pytest.raises(DecodeError):
        decode_entry(ROOM, "e", 9, packed)


def test_an_entry_that_is_cut_off_is_refused() -> None:
    """If it ends anywhere before its text. A shorter text can't be told from a whole one."""
    for end in range(len(WHOLE) - len(DRAFTS[2].text.encode())):
        with pytest.raises(DecodeError):
            decode_entry(ROOM, "e", 9, WHOLE[:end])


@pytest.mark.parametrize("packed", [b"", b"c", b"r 99 7 x", WHOLE[:20], WHOLE.replace(b"[", b"{", 1)])
def test_a_damaged_state_is_refused(packed: bytes) -> None:
    """A state of another shape, or of an unknown kind, is a `DecodeError`."""
    with pytest.raises(DecodeError):
        decode_state(ROOM, some_id(1), 5, packed)


def test_a_refusal_repeats_nothing_of_the_message() -> None:
    """Its text goes to the log of the server."""
    with pytest.raises(DecodeError) as raised:
        decode_entry(ROOM, "e", 9, b"c secret 7")
    assert "secret" not in str(raised.value)
