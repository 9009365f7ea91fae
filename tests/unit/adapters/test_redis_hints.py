"""Hints in Redis: every event comes back from its hint, and a replica knows its own messages again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.codec import DecodeError
from server.adapters.redis.hints import cut_seal, decode_hint, encode_hint, sealed
from server.adapters.redis.own import OWN_LIMIT, OwnEvents
from server.adapters.seal import SEAL_CHARS, Seal
from server.domain.channels import ChannelName
from server.domain.events import LogEvent, MessageCreated, MessageDeleted, MessageEdited, erased
from server.domain.identity import Author, UserId
from tests.doubles.samples import NOW_MS, ROOM, event, some_id

SEAL, TOPIC = Seal(b"the cluster's"), "topic:of:room"

MODERATOR = Author(UserId("mod"), None)

texts = st.text(max_size=40)
data = st.none() | st.dictionaries(texts, st.none() | st.integers(-9, 9) | texts, max_size=3)


@st.composite
def events(draw: st.DrawFn) -> LogEvent:
    """Events of every kind."""
    by = draw(st.none() | st.just(MODERATOR))
    reply_to, key = draw(st.none() | st.just(some_id(9))), draw(st.none() | texts)
    first = replace(event(1).message, text=draw(texts), data=draw(data), reply_to=reply_to, key=key)
    second = replace(first, edited_at=NOW_MS + 7, version=2, edited_by=by)
    created = MessageCreated(ROOM, "epoch", 1, first.created_at, first)
    edited = MessageEdited(ROOM, "epoch", 2, NOW_MS + 7, second)
    deleted = MessageDeleted(ROOM, "epoch", 3, NOW_MS, first.id, by)
    every: list[LogEvent] = [created, edited, deleted, erased(created), erased(edited)]
    return draw(st.sampled_from(every))


@given(event=events())
def test_an_event_comes_back_from_its_hint(event: LogEvent) -> None:
    """With every character that texts and data may hold."""
    assert decode_hint(ROOM, encode_hint(event)) == event


@given(event=events())
def test_the_seal_of_a_hint_is_cut_off_and_fits(event: LogEvent) -> None:
    """Whatever the hint holds; it fits that very hint, on that topic, under that secret."""
    hint = encode_hint(event)
    payload = sealed(hint, TOPIC, SEAL)
    assert len(payload) == len(hint) + 1 + SEAL_CHARS
    found, seal = cut_seal(payload)
    assert found == hint
    assert SEAL.fits(seal, TOPIC.encode(), hint)
    assert not Seal(b"another's").fits(seal, TOPIC.encode(), hint)
    assert not SEAL.fits(seal, b"topic:of:another", hint)
    for place in range(len(hint)):
        assert not SEAL.fits(seal, TOPIC.encode(), hint[:place] + bytes([hint[place] ^ 1]) + hint[place + 1 :])


@pytest.mark.parametrize(
    "payload", [b"", b"epoch 1 d", b" ", b"x" * 99, b"." + b"0" * 40 + b" 1 d", b"e-" + b"0" * 40 + b" 1"]
)
def test_a_hint_without_a_seal_is_left_as_it_is(payload: bytes) -> None:
    """And no seal fits it."""
    assert cut_seal(payload) == (payload, b"")
    assert not SEAL.fits(b"", TOPIC.encode(), payload)


def test_an_earlier_version_takes_the_seal_for_another_epoch() -> None:
    """It decodes the hint, and reads the log; its bound for the length of an epoch is kept."""
    mine = replace(event(7), epoch="0123456789abcdef")
    heard = decode_hint(ROOM, sealed(encode_hint(mine), TOPIC, SEAL))
    assert heard == replace(mine, epoch=heard.epoch)
    assert heard.epoch.startswith("0123456789abcdef.")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"epoch",
        b"epoch 1",
        b"epoch one d 1 1 id",
        b" 1 d 1 1 id",
        b"e" * 65 + b" 1 d 1 1 id",
        b"epoch 1 D 1 1 id",
        b"\xff 1 d 1 1 id",
        b"epoch -1 d 1 1 id",
    ],
)
def test_what_is_no_hint_is_refused(payload: bytes) -> None:
    """A replica of a newer version may have sent it."""
    with pytest.raises(DecodeError):
        decode_hint(ROOM, payload)


def test_an_own_message_is_known_once() -> None:
    """By its channel, epoch and offset; the very object comes back, the first time."""
    own, mine = OwnEvents(), event(7)
    own.add(mine)
    for other in (event(8), event(7, "two")):
        assert own.take(ROOM, encode_hint(other)) is None
    assert own.take(ChannelName("room:other"), encode_hint(mine)) is None
    assert own.take(ROOM, encode_hint(mine)) is mine
    assert own.take(ROOM, encode_hint(mine)) is None


def test_the_place_of_a_deleted_message_is_not_the_message() -> None:
    """The text of a message that was deleted meanwhile comes back from nowhere."""
    own, mine = OwnEvents(), event(7)
    own.add(mine)
    assert own.take(ROOM, encode_hint(erased(mine))) is None
    assert own.take(ROOM, b"no hint") is None


def test_own_messages_are_bounded() -> None:
    """Over the bound the oldest is forgotten."""
    own = OwnEvents()
    for offset in range(1, OWN_LIMIT + 2):
        own.add(event(offset))
    assert own.take(ROOM, encode_hint(event(1))) is None
    assert own.take(ROOM, encode_hint(event(2))) is not None
