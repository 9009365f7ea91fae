"""Events as bytes: everything survives the way there and back, and strangers' bytes are refused."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.codec import (
    MAX_TIME_MS,
    DecodeError,
    decode_event,
    encode_event,
    known,
    state_of,
)
from server.domain.events import (
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    UnknownEvent,
    erased,
)
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageId
from server.domain.reactions import Reacted
from tests.doubles.samples import NOW_MS, ROOM, event, some_id, unknown

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
whole = st.integers(0, 2**53 - 1)
times = st.integers(0, MAX_TIME_MS)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
users = texts.map(UserId)
authors = st.builds(Author, users, st.none() | texts)
reactions = st.lists(st.builds(Reacted, texts, whole, st.lists(users, max_size=3).map(tuple)), max_size=3).map(tuple)
messages = st.builds(
    Message,
    id=st.integers(0, 99).map(some_id),
    channel=st.just(ROOM),
    author=st.builds(Author, texts.map(UserId), st.none() | texts),
    text=texts,
    data=st.none() | st.dictionaries(texts, values, max_size=3),
    reply_to=st.none() | st.integers(0, 99).map(some_id),
    key=st.none() | texts,
    created_at=times,
    edited_at=st.none() | times,
    version=st.integers(1, 9),
    offset=whole,
    edited_by=st.none() | authors,
    mentions=st.lists(users, max_size=3).map(tuple),
    reactions=reactions,
)
places = (st.just(ROOM), texts, whole, times)
events = st.one_of(
    st.builds(MessageCreated, *places, messages),
    st.builds(MessageEdited, *places, messages),
    st.builds(MessageDeleted, *places, texts.map(MessageId), st.none() | st.builds(Author, texts.map(UserId), texts)),
    st.builds(MessageErased, *places, texts.map(MessageId), whole, st.booleans(), st.none() | texts),
    st.builds(ReactionChanged, *places, texts.map(MessageId), reactions),
    st.builds(EventPublished, *places, texts, authors, values, st.none() | texts),
)


@given(events)
def test_an_event_survives(original: LogEvent) -> None:
    """Decoding gives an equal event; the bytes are one line, so that lines may be joined."""
    raw = encode_event(original)
    decoded = decode_event(raw)
    assert decoded == original
    assert getattr(decoded, "author", None) == getattr(original, "author", None)  # which is not compared
    assert b"\n" not in raw


def without(field: str) -> dict[str, Any]:
    """An event's fields, but one."""
    fields: dict[str, Any] = orjson.loads(encode_event(event(1)))
    del fields[field]
    return fields


def with_(**changed: object) -> dict[str, Any]:
    """An event's fields, some of them changed."""
    fields: dict[str, Any] = orjson.loads(encode_event(event(1)))
    return fields | changed


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        b'{"v": 1}',
        *(orjson.dumps(without(field)) for field in "vtceoam"),
        orjson.dumps(with_(v=2)),
        *(orjson.dumps(with_(t=kind)) for kind in ("", "Reacted", "re acted", "r" * 65, 7, None, ["created"])),
        orjson.dumps(with_(t="pinned", o="1")),
        orjson.dumps(with_(t="deleted")),
        orjson.dumps(with_(c=7)),
        orjson.dumps(with_(o="1")),
        orjson.dumps(with_(o=True)),
        orjson.dumps(with_(o=1.5)),
        orjson.dumps(with_(m=[])),
        orjson.dumps(with_(m={})),
        orjson.dumps(with_(m={**with_()["m"], "author": "alice"})),
        orjson.dumps(with_(m={**with_()["m"], "text": None})),
        orjson.dumps(with_(m={**with_()["m"], "version": "1"})),
        *(orjson.dumps(with_(a=time)) for time in (-1, MAX_TIME_MS + 1, 10**18, True)),
        *(orjson.dumps(with_(o=offset)) for offset in (-1, 2**53, 10**18)),
        *(
            orjson.dumps(with_(m={**with_()["m"], field: value}))
            for field, value in [
                ("created_at", 10**18),
                ("edited_at", "soon"),
                ("edited_at", 10**18),
                ("edited_by", "mod"),
                ("edited_by", ["mod", 7]),
                ("author", None),
                ("author", ["alice", 7]),
                ("author", ["alice"]),
                ("data", [1]),
                ("data", "text"),
                ("reply_to", 7),
                ("key", {}),
                ("offset", -1),
                ("version", 10**18),
            ]
        ),
        orjson.dumps(with_(t="deleted", i="id", b="mod")),
        orjson.dumps(with_(t="erased", i="id", n=1)),
        orjson.dumps(with_(t="erased", i="id", n=1, w="pinned")),
        orjson.dumps(with_(t="erased", i="id", n="1", w="created")),
        orjson.dumps(with_(t="erased", i="id", n=1, w="created", u=1)),
    ],
)
def test_what_is_no_event_is_refused(foreign: bytes) -> None:
    """Any other bytes are a `DecodeError`, never another exception and never half an event."""
    with pytest.raises(DecodeError):
        decode_event(foreign)


@pytest.mark.parametrize("kind", ["pinned", "r", "a_b", "r" * 64])
def test_an_event_of_an_unknown_kind_keeps_its_place(kind: str) -> None:
    """A newer version's event has a position and a time; its other fields mean nothing here."""
    assert decode_event(orjson.dumps(with_(t=kind))) == UnknownEvent(ROOM, "one", 1, NOW_MS + 1, kind)


def test_an_unknown_event_is_no_state_of_a_message() -> None:
    """If a message's state is expected, an event of an unknown kind is damage, and so is an erased event."""
    assert known(event(1)) == state_of(event(1)) == event(1)
    with pytest.raises(DecodeError, match="unknown kind 'pinned'"):
        known(unknown(1))
    with pytest.raises(DecodeError, match="erased"):
        state_of(erased(event(1)))


def test_a_message_of_an_earlier_version_has_no_editor() -> None:
    """Bytes without `edited_by` are read as an edit of the author's."""
    fields = with_()
    del fields["m"]["edited_by"]
    assert decode_event(orjson.dumps(fields)) == event(1)


def test_a_lone_surrogate_is_no_json() -> None:
    """Text that can't be UTF-8 is refused on the way in, and never written."""
    draft = MessageDeleted(ROOM, "epoch", 1, NOW_MS, MessageId("\ud800"))
    with pytest.raises(TypeError):
        encode_event(draft)
