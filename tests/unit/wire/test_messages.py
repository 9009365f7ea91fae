"""The wire's shapes: names and JSON, as PROTOCOL.md shows them."""

from dataclasses import replace
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.appending import Appended, created, revised
from server.domain.drafts import Revision
from server.domain.errors import TABLE, BadRequest, Internal, MaruError, PermissionDenied, RateLimited, TokenExpired
from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageEvent,
    ReactionChanged,
    UnknownEvent,
    erased,
)
from server.domain.identity import Author, SessionId, UserId
from server.domain.marks import Mark
from server.domain.messages import Position, Tombstone
from server.domain.pushes import ChannelRemoved, ChannelResumed, Push, SessionExpiring, SessionReady
from server.domain.reactions import Reacted
from server.domain.recovery import NotResumable
from server.ports.message_log import Page
from server.wire import errors, messages, pushes, words
from server.wire.answers import Done, Failed, envelope
from tests.doubles.samples import NOW_MS, ROOM, encoded, event, new_message, some_id

MODERATOR = Author(UserId("mod"), "Mod")
AT = "2023-11-14T22:13:20.001Z"
PLACE = {"channel": "room:1", "epoch": "one", "offset": 1, "at": AT}
MESSAGE: dict[str, Any] = {
    "id": some_id(1),
    "channel": "room:1",
    "author": {"id": "alice", "name": "Alice"},
    "text": "number 1",
    "data": None,
    "reply_to": None,
    "key": None,
    "created_at": AT,
    "edited_at": None,
    "version": 1,
    "mentions": [],
    "reactions": {},
    "offset": 1,
}
EDIT = Revision(ROOM, some_id(1), "better", {"a": 1}, keep_data=False, at=NOW_MS + 2)
EDITED = revised(created(new_message(1), Position("one", 1)).message, EDIT)

LOG_EVENTS: dict[str, tuple[MessageEvent, dict[str, Any]]] = {
    "message:created": (event(1), PLACE | {"message": MESSAGE}),
    "message:edited": (
        MessageEdited(ROOM, "one", 2, NOW_MS + 2, EDITED),
        {
            "channel": "room:1",
            "epoch": "one",
            "offset": 2,
            "at": "2023-11-14T22:13:20.002Z",
            "message": MESSAGE
            | {"text": "better", "data": {"a": 1}, "version": 2, "edited_at": "2023-11-14T22:13:20.002Z"},
        },
    ),
    "message:deleted": (
        MessageDeleted(ROOM, "one", 1, NOW_MS + 1, some_id(1)),
        PLACE | {"message": {"id": some_id(1), "channel": "room:1", "deleted": True}},
    ),
    "message:created of a deleted message": (
        erased(event(1)),
        PLACE | {"message": {"id": some_id(1), "channel": "room:1", "deleted": True, "offset": 1}},
    ),
    "message:edited of a deleted message": (
        replace(erased(event(1)), edited=True, offset=7),
        PLACE | {"offset": 7, "message": {"id": some_id(1), "channel": "room:1", "deleted": True, "offset": 1}},
    ),
    "message:edited by a moderator": (
        MessageEdited(ROOM, "one", 1, NOW_MS + 1, replace(event(1).message, edited_by=MODERATOR)),
        PLACE | {"message": MESSAGE | {"edited_by": {"id": "mod", "name": "Mod"}}},
    ),
    "message:deleted by a moderator": (
        MessageDeleted(ROOM, "one", 1, NOW_MS + 1, some_id(1), MODERATOR),
        PLACE
        | {
            "message": {
                "id": some_id(1),
                "channel": "room:1",
                "deleted": True,
                "deleted_by": {"id": "mod", "name": "Mod"},
            }
        },
    ),
}

PUSHES: dict[str, tuple[Push, str, dict[str, Any]]] = {
    "recovered": (
        ChannelResumed(ROOM, Position("one", 1), None, encoded([event(1)])),
        "channel:resumed",
        {
            "channel": "room:1",
            "epoch": "one",
            "offset": 1,
            "recovered": True,
            "events": [{"event": "message:created", **PLACE, "message": MESSAGE}],
            "read_offset": 0,
            "unread": 0,
            "unread_mentions": 0,
        },
    ),
    "not recovered": (
        ChannelResumed(ROOM, Position("two", 5), NotResumable.EPOCH_CHANGED, (), Mark(2, 3, 1, Position("two", 5))),
        "channel:resumed",
        {
            "channel": "room:1",
            "epoch": "two",
            "offset": 5,
            "recovered": False,
            "reason": "epoch_changed",
            "events": [],
            "read_offset": 2,
            "unread": 3,
            "unread_mentions": 1,
        },
    ),
    "removed": (
        ChannelRemoved(ROOM, PermissionDenied),
        "channel:removed",
        {"channel": "room:1", "code": "permission_denied"},
    ),
    "ready": (
        SessionReady(SessionId("s"), UserId("alice"), NOW_MS),
        "session:ready",
        {"user": "alice", "session": "s", "expires_at": "2023-11-14T22:13:20.000Z", "server": {"version": "1"}},
    ),
    "expiring": (SessionExpiring(NOW_MS), "session:expiring", {"expires_at": "2023-11-14T22:13:20.000Z"}),
}


REACTIONS = (Reacted("👍", 12, (UserId("bob"), UserId("ann"))), Reacted("+1", 1, (UserId("bob"),)))
OTHERS: list[tuple[LogEvent, dict[str, Any]]] = [
    (
        ReactionChanged(ROOM, "one", 1, NOW_MS + 1, some_id(1), REACTIONS),
        PLACE
        | {
            "id": some_id(1),
            "reactions": {"👍": {"count": 12, "users": ["bob", "ann"]}, "+1": {"count": 1, "users": ["bob"]}},
        },
    ),
    (
        EventPublished(ROOM, "one", 1, NOW_MS + 1, "order.paid", Author(UserId("shop"), None), [1, None], "k"),
        PLACE | {"name": "order.paid", "author": {"id": "shop", "name": None}, "data": [1, None], "key": "k"},
    ),
]


@pytest.mark.parametrize(("value", "body"), OTHERS, ids=["reaction:changed", "event:published"])
def test_events_beside_messages(value: LogEvent, body: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """They carry their position, and no text that a deletion would have to take away."""
    said = messages.encode(value)
    assert (said.name, said.offset, said.message) == (request.node.callspec.id, value.offset, None)
    assert said.json == orjson.dumps(body)


@pytest.mark.parametrize(("value", "body"), LOG_EVENTS.values(), ids=LOG_EVENTS)
def test_log_events(value: MessageEvent, body: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """A log event carries its position and the message's state, byte for byte as the whole encoded at once."""
    said = messages.encode(value)
    assert said.name == request.node.callspec.id.partition(" ")[0]
    assert said.offset == value.offset
    assert said.json == orjson.dumps(body)


@pytest.mark.parametrize("value", [value for value, _ in LOG_EVENTS.values()], ids=LOG_EVENTS)
@pytest.mark.parametrize("duplicate", [False, True])
def test_the_ack_of_a_sent_message(value: MessageEvent, *, duplicate: bool) -> None:
    """The answer holds the message as its event shows it, byte for byte as an envelope around it would."""
    fields = {"message": messages.subject(value), "epoch": "one", "offset": value.offset, "duplicate": duplicate}
    assert messages.sent(Appended(value, duplicate)) == orjson.dumps(envelope(Done(fields)))


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def json_of(value: MessageCreated) -> bytes | None:
    """The JSON that is kept with the event's message."""
    return value.message.json


@given(TEXT, st.none() | st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**64 - 1) | st.floats(), max_size=3))
def test_a_message_is_encoded_once_for_its_ack_and_its_event(text: str, data: dict[str, Any] | None) -> None:
    """Whatever its text and data are, both are what they would be alone, and the JSON is not kept any longer."""
    value = created(replace(new_message(1, text=text), data=data), Position("one", 1))
    alone = messages.encode(value)
    messages.sent(Appended(value, duplicate=True))  # it has been delivered already
    assert json_of(value) is None
    ack = messages.sent(Appended(value, duplicate=False))
    kept = json_of(value)
    assert kept == orjson.dumps(messages.message(value.message))
    assert messages.sent(Appended(value, duplicate=True)) == ack.replace(b'"duplicate":false}', b'"duplicate":true}')
    assert json_of(value) is kept
    assert messages.encode(value) == alone
    assert json_of(value) is None


def test_what_cannot_be_encoded_is_not_kept() -> None:
    """A lone surrogate has no JSON: neither an ack nor an event is made of it."""
    value = created(new_message(1, text="\ud800"), Position("one", 1))
    with pytest.raises(TypeError):
        messages.sent(Appended(value, duplicate=False))
    assert json_of(value) is None
    with pytest.raises(TypeError):
        messages.encode(value)


def test_the_json_of_a_message_is_no_part_of_it() -> None:
    """A message with JSON is the same value as one without; the next state of the message has none."""
    value = created(new_message(1), Position("one", 1))
    messages.sent(Appended(value, duplicate=False))
    assert (value, hash(value), repr(value)) == (event(1), hash(event(1)), repr(event(1)))
    assert revised(value.message, EDIT).json is None


def test_every_event_that_clients_are_given_has_a_name() -> None:
    """And no other: an event of an unknown kind can't be put on the wire, says the type checker."""
    told = {type(value) for value in [value for value, _ in LOG_EVENTS.values()] + [value for value, _ in OTHERS]}
    assert told == set(get_args(LogEvent))
    assert set(get_args(Event)) - set(get_args(LogEvent)) == {UnknownEvent}


@pytest.mark.parametrize(("push", "name", "body"), PUSHES.values(), ids=PUSHES)
def test_pushes(push: Push, name: str, body: dict[str, Any]) -> None:
    """What is said to one session."""
    said_name, said = pushes.push(push, {"server": {"version": "1"}})
    assert (said_name, orjson.loads(orjson.dumps(said))) == (name, body)


@pytest.mark.parametrize(
    ("recovered", "reason", "said"),
    [(None, None, None), (True, None, None), (False, NotResumable.EXPIRED, "expired")],
)
def test_replays_say_whether_all_was_there(
    recovered: bool | None, reason: NotResumable | None, said: str | None
) -> None:
    """`recovered` is null where nothing was asked for; a reason stands only beside false."""
    body = messages.replayed(Position("one", 7), recovered, reason, ())
    assert (body["recovered"], body.get("reason"), body["offset"]) == (recovered, said, 7)


def test_a_page_shows_tombstones_in_their_place() -> None:
    """`history:read` gives messages in their current state; of a deleted one only its place is left."""
    page = Page(
        (Tombstone(some_id(1), ROOM, 1), created(new_message(2), Position("one", 2)).message), Position("one", 3), True
    )
    said = messages.page(page)
    assert said["messages"][0] == {"id": some_id(1), "channel": "room:1", "deleted": True, "offset": 1}
    assert said["messages"][1]["offset"] == 2
    assert {name: said[name] for name in ("epoch", "offset", "more")} == {"epoch": "one", "offset": 3, "more": True}


@pytest.mark.parametrize("error", TABLE, ids=lambda error: error.code)
def test_every_failure_has_the_same_envelope(error: type[MaruError]) -> None:
    """An ack, a CONNECT_ERROR and `session:terminated` name the same code; JS clients read `message`."""
    body = {"code": error.code, "message": "why", "retryable": error.retryable}
    assert envelope(Failed(error("why"))) == {"ok": False, "error": body}
    assert errors.connect_error(error("why")) == {"message": error.code, "data": body}
    assert pushes.terminated(error("why")) == {"code": error.code, "message": "why"}


def test_optional_parts_of_a_failure() -> None:
    """`retry_after_ms` and `details` stand only where they say something."""
    assert errors.error(RateLimited("slow down", retry_after_ms=250))["retry_after_ms"] == 250
    assert errors.error(BadRequest("no", details={"field": "text"}))["details"] == {"field": "text"}
    assert set(errors.error(Internal("no"))) == {"code", "message", "retryable"}
    assert envelope(Done({"offset": 1})) == {"ok": True, "offset": 1}
    assert pushes.terminated(TokenExpired("gone"))["code"] == "token_expired"


@given(st.integers(0, 253_402_300_799_999))
def test_timestamps_keep_their_milliseconds(unix_ms: int) -> None:
    """Times are RFC 3339 in UTC with exactly three digits, and sort as text up to the year 9999."""
    text = words.timestamp(unix_ms)
    assert len(text) == len("2023-11-14T22:13:20.001Z")
    assert text.endswith(f".{unix_ms % 1000:03d}Z")
    assert words.timestamp(max(0, unix_ms - 1)) <= text


def test_a_message_that_is_not_delivered_here_keeps_no_json() -> None:
    """A log in memory has it for as long as it has the message."""
    appended = Appended(event(1), duplicate=False)
    assert messages.sent(appended, delivered=False) == messages.sent(Appended(event(1), duplicate=False))
    assert isinstance(appended.event, MessageCreated)
    assert appended.event.message.json is None
