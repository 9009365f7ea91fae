"""Messages and events as fields of Redis' entries and hashes."""

from dataclasses import replace

import pytest

from server.adapters.redis.entries import decode_entry, decode_state, encode_data, encode_head
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageCreated, MessageDeleted, MessageEdited, Post, Tombstone
from tests.doubles.samples import ROOM, post, some_id

DRAFTS = [
    post(1),
    replace(post(1), data={}, key="", text=""),
    replace(post(1), data={"a": [1, 2.5, None, "마루"]}, key="k", reply_to=some_id(2), text="a\x00b 🙂"),
    replace(post(1), author=Author(UserId("x y"), None)),
]


def creation(draft: Post) -> list[bytes]:
    """What `append.lua` writes."""
    head, data = encode_head(draft), encode_data(draft.data)
    at = str(draft.at).encode()
    return [b"created", head, b"text", draft.text.encode(), b"data", data, b"at", at, b"written", b"7"]


def message(draft: Post) -> Message:
    """What is read of it at offset 5."""
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
def test_a_creation_is_read_as_it_was_posted(draft: Post) -> None:
    """To the letter; no data is not an empty object, no name is not an empty one."""
    event = decode_entry(ROOM, "e", 5, creation(draft))
    assert event == MessageCreated(ROOM, "e", 5, draft.at, message(draft))


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_state_is_its_creation_and_the_changes_since(draft: Post) -> None:
    """Without changes the message as posted; edited with the new text; deleted a tombstone, also after an edit."""
    changes = [b"text", b"new", b"data", b"", b"edited_at", b"99", b"version", b"3"]
    assert decode_state(ROOM, 5, creation(draft), []) == message(draft)
    edited = replace(message(draft), text="new", data=None, edited_at=99, version=3)
    assert decode_state(ROOM, 5, creation(draft), changes) == edited
    deleted = [*changes[4:], b"deleted", b"9", b"deleted_at", b"100"]
    assert decode_state(ROOM, 5, creation(draft), deleted) == Tombstone(draft.id, ROOM, 5)


def test_an_edit_is_the_whole_new_state() -> None:
    """At the offset of its own, with the message's creation inside."""
    draft = DRAFTS[2]
    fields = [b"edited", encode_head(draft), b"offset", b"5", b"created_at", str(draft.at).encode()]
    fields += [
        b"text",
        b"new",
        b"data",
        b'{"b":1}',
        b"edited_at",
        b"99",
        b"version",
        b"2",
        b"at",
        b"99",
        b"written",
        b"7",
    ]
    edited = replace(message(draft), text="new", data={"b": 1}, edited_at=99, version=2)
    assert decode_entry(ROOM, "e", 8, fields) == MessageEdited(ROOM, "e", 8, 99, edited)


def test_a_deletion_names_the_message() -> None:
    """And nothing else."""
    fields = [b"deleted", some_id(1).encode(), b"at", b"99", b"written", b"7"]
    assert decode_entry(ROOM, "e", 9, fields) == MessageDeleted(ROOM, "e", 9, 99, some_id(1))
