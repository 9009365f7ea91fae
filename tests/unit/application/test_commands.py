"""The payloads of commands: every field's bounds, as a table."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.application.commands import (
    Command,
    ConnectPayload,
    Delete,
    Edit,
    Join,
    Leave,
    ReadHistory,
    Refresh,
    Send,
    SincePosition,
    channel_of,
)
from server.domain.channels import MAX_CHANNEL_CHARS
from server.domain.errors import BadRequest, MaruError, PayloadTooLarge
from server.domain.limits import DEFAULT_PAGE
from server.domain.messages import Position

SINCE = {"epoch": "e", "offset": 7}
SECRET = "eyJhbGciOiJIUzI1NiJ9-secret"
COMPLETE: Mapping[type[Command], dict[str, Any]] = {
    SincePosition: SINCE,
    ConnectPayload: {"token": "t"},
    Join: {"channel": "room:1"},
    Leave: {"channel": "room:1"},
    Send: {"channel": "room:1", "text": "hi"},
    Edit: {"channel": "room:1", "id": "m", "text": "hi"},
    Delete: {"channel": "room:1", "id": "m"},
    ReadHistory: {"channel": "room:1"},
    Refresh: {"token": "t"},
}
"""Of each command, the fields that it can't do without."""


def nested(depth: int) -> dict[str, Any]:
    """An object of so many levels, objects and arrays in turn."""
    inner: Any = {} if depth % 2 else []
    for level in range(depth - 1, 0, -1):
        inner = {"a": inner} if level % 2 else [inner]
    assert isinstance(inner, dict)
    return inner


def sized(size: int) -> dict[str, str]:
    """An object that is so many bytes of compact JSON."""
    return {"a": "x" * (size - len('{"a":""}'))}


def resume(count: int) -> dict[str, object]:
    """So many positions."""
    return {f"room:{number}": SINCE for number in range(count)}


DATA: list[object] = [None, {}, sized(8_192), nested(32), {"a": [1, 1.5, None, True, "é"], "": {}}]
MENTIONS: list[object] = [None, [], ["*"], ["bob", "é", "u" * 128], [f"u{number}" for number in range(50)]]
POSITIONS: list[object] = [None, resume(0), resume(500)]
FITS: list[tuple[type[Command], str, object]] = [
    *((command, "channel", "a" * 128) for command in (Join, Leave, Send, Edit, Delete, ReadHistory)),
    *((command, "text", text) for command in (Send, Edit) for text in ("x", "x" * 4_000, "가" * 4_000, "🙂" * 4_000)),
    *((command, "text", text) for command in (Send, Edit) for text in ("\ta\n\nb\n", "\u2028\u202e\u200d\xa0\xad")),
    *((command, "data", data) for command in (Send, Edit) for data in DATA),
    *((command, "id", id) for command in (Edit, Delete) for id in ("m", "m" * 64)),
    *((Send, "reply_to", id) for id in (None, "m", "m" * 64)),
    *((Send, "key", key) for key in (None, "k", "k" * 64)),
    *((Send, "mentions", users) for users in MENTIONS),
    *((SincePosition, "epoch", epoch) for epoch in ("e", "e" * 64)),
    *((SincePosition, "offset", offset) for offset in (0, 2**53 - 1)),
    *((Join, "history", history) for history in (None, 0, 100)),
    *((Join, "since", since) for since in (None, SINCE)),
    *((ReadHistory, "limit", limit) for limit in (1, 100)),
    *((ReadHistory, bound, offset) for bound in ("before", "after") for offset in (None, 0, 2**53 - 1)),
    *((command, "token", token) for command in (ConnectPayload, Refresh) for token in ("t", "t" * 16_384)),
    *((ConnectPayload, "resume", positions) for positions in POSITIONS),
]
CONTROLS = ("\0", "\a", "\b", "\v", "\f", "\x1b", "\x1f", "\x7f", "\x80", "\x9b", "\x9f")
"""Control characters that a message's text can't have."""

NO_DATA: list[object] = [[], "{}", 1, True, nested(33), nested(500), {"a": 2**64}, {"a": "\ud800"}, {"\ud800": 1}]
NO_MENTIONS: list[object] = ["bob", {"bob": 1}, 1, [f"u{number}" for number in range(51)], ["*", "bob"], ["bob", "*"]]
NO_USERS = ("", "u" * 129, "a\nb", "\ud800", None, 1, ["bob"])
NO_POSITIONS: list[object] = [[], "room:1", 1, resume(501)]
REFUSED: list[tuple[type[Command], str, object, str]] = [
    *(
        (command, "channel", channel, "channel")
        for command in (Join, Leave, Send, Edit, Delete, ReadHistory)
        for channel in ("", "a" * 129, "Room", "room:*", "room\n", None, 1, ["room"], b"room")
    ),
    *(
        (command, "text", text, "text")
        for command in (Send, Edit)
        for text in ("", "x" * 4_001, "🙂" * 4_001, "\ud800", None, 1, ["x"], b"x", True)
    ),
    *((command, "text", f"a{char}b", "text") for command in (Send, Edit) for char in CONTROLS),
    *((Send, field, f"a{char}b", field) for field in ("key", "reply_to") for char in (*CONTROLS, "\t", "\n", "\r")),
    *((command, "id", f"a{char}b", "id") for command in (Edit, Delete) for char in (*CONTROLS, "\t", "\n", "\r")),
    *((command, "data", data, "data") for command in (Send, Edit) for data in NO_DATA),
    (Send, "data", {1: 1}, "data.*"),
    *((command, "id", id, "id") for command in (Edit, Delete) for id in ("", "m" * 65, None, 1)),
    *((Send, "reply_to", id, "reply_to") for id in ("", "m" * 65, 1)),
    *((Send, "key", key, "key") for key in ("", "k" * 65, 1)),
    *((Send, "mentions", users, "mentions") for users in NO_MENTIONS),
    *((Send, "mentions", ["bob", user], "mentions.1") for user in NO_USERS),
    *((SincePosition, "epoch", epoch, "epoch") for epoch in ("", "e" * 65, None, 1)),
    *((SincePosition, "offset", offset, "offset") for offset in (-1, 2**53, 10**5_000, "1", 1.0, True, None)),
    *((Join, "history", history, "history") for history in (-1, 101, "1", 1.0, True)),
    *((Join, "since", since, "since") for since in (1, "e", [], [SINCE])),
    (Join, "since", {}, "since.epoch"),
    (Join, "since", {"epoch": "e", "offset": -1}, "since.offset"),
    *((ReadHistory, "limit", limit, "limit") for limit in (0, 101, None, "1", 1.0, True)),
    *((ReadHistory, bound, offset, bound) for bound in ("before", "after") for offset in (-1, 2**53, "1", 1.0, False)),
    *(
        (command, "token", token, "token")
        for command in (ConnectPayload, Refresh)
        for token in ("", "t" * 16_385, None, 1, b"t", {"token": "t"})
    ),
    *((ConnectPayload, "resume", positions, "resume") for positions in NO_POSITIONS),
    (ConnectPayload, "resume", {"Room": SINCE}, "resume.*"),
    (ConnectPayload, "resume", {SECRET: SINCE}, "resume.*"),
    (ConnectPayload, "resume", {1: SINCE}, "resume.*"),
    (ConnectPayload, "resume", {"room:1": 7}, "resume.*"),
    (ConnectPayload, "resume", {"room:1": None}, "resume.*"),
    (ConnectPayload, "resume", {"room:1": {"epoch": "e"}}, "resume.*.offset"),
    (ConnectPayload, "resume", {"room:1": {"epoch": "", "offset": 1}}, "resume.*.epoch"),
]


def naming(value: object) -> str:
    """A test id that says the value, or how big it is."""
    try:
        text = ascii(value)
    except ValueError:  # an int of too many digits to print
        return "a huge int" if isinstance(value, int) else "holding a huge int"
    return value.__name__ if isinstance(value, type) else text if len(text) < 40 else f"{text[:20]}...{len(text)}"


@pytest.mark.parametrize("command", [Send, Edit])
@pytest.mark.parametrize(
    ("text", "kept"), [("a\r\nb", "a\nb"), ("a\rb\r", "a\nb\n"), ("\r\r\n\n", "\n\n\n"), ("\u202e\r\n", "\u202e\n")]
)
def test_lines_end_by_line_feeds(command: type[Send | Edit], text: str, kept: str) -> None:
    """Windows and old Macs end them otherwise."""
    assert command.parse(COMPLETE[command] | {"text": text}).text == kept


@given(st.text(min_size=1, max_size=20))
def test_a_text_that_is_taken_has_no_controls(text: str) -> None:
    """Whatever it is: tabs and line feeds are all that is left of Unicode's control characters."""
    try:
        kept = Send.parse({"channel": "room:1", "text": text}).text
    except BadRequest:
        assert any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)
    else:
        assert all(unicodedata.category(char) != "Cc" or char in "\t\n" for char in kept)


def test_control_characters_in_data_are_the_applications() -> None:
    """The server keeps `data` as it is: JSON writes controls as escapes, and who shows them decides."""
    data = {"a": "\0\x1b", "\0": 1}
    assert Send.parse(COMPLETE[Send] | {"data": data}).data == data


@pytest.mark.parametrize(("command", "field", "value"), FITS, ids=naming)
def test_a_value_within_its_bounds_is_taken_as_it_is(command: type[Command], field: str, value: object) -> None:
    """The last value inside each bound is accepted, unchanged."""
    parsed = command.parse(COMPLETE[command] | {field: value})
    got = getattr(parsed, field)
    if isinstance(got, SincePosition):
        got = got.model_dump()
    elif field == "resume" and got is not None:
        got = {channel: since.model_dump(exclude_unset=True) for channel, since in got.items()}
    assert got == value


@pytest.mark.parametrize(("command", "field", "value", "named"), REFUSED, ids=naming)
def test_a_value_out_of_its_bounds_is_a_bad_request_that_names_the_field(
    command: type[Command], field: str, value: object, named: str
) -> None:
    """The first value outside each bound, and each wrong type, is refused under the field's name, strictly."""
    with pytest.raises(BadRequest) as refused:
        command.parse(COMPLETE[command] | {field: value})
    assert refused.value.details == {"field": named}
    assert str(refused.value).startswith(f"{named}: ")


@pytest.mark.parametrize("command", [Send, Edit])
def test_data_over_its_bytes_is_too_large(command: type[Command]) -> None:
    """8,192 bytes of compact JSON, counted in UTF-8, are the most; the error says how much it was."""
    for data, size in ((sized(8_193), 8_193), ({"a": "é" * 4_093}, 8_194)):
        with pytest.raises(PayloadTooLarge) as refused:
            command.parse(COMPLETE[command] | {"data": data})
        assert refused.value.details == {"field": "data", "bytes": size, "limit": 8_192}


@pytest.mark.parametrize("command", COMPLETE, ids=naming)
def test_the_least_that_a_command_needs(command: type[Command]) -> None:
    """The required fields suffice; without any one of them the command is refused under that field's name."""
    complete = COMPLETE[command]
    command.parse(complete)
    for missing in complete:
        with pytest.raises(BadRequest) as refused:
            command.parse({field: value for field, value in complete.items() if field != missing})
        assert refused.value.details == {"field": missing}


@pytest.mark.parametrize("command", COMPLETE, ids=naming)
def test_unknown_fields_are_ignored(command: type[Command]) -> None:
    """A newer client may say more than this server knows."""
    complete = COMPLETE[command]
    assert command.parse(complete | {"unheard_of": SECRET, "": 1}) == command.parse(complete)


@pytest.mark.parametrize("command", COMPLETE, ids=naming)
@pytest.mark.parametrize("payload", [None, 1, "text", [], [{}], True], ids=naming)
def test_what_is_no_object_is_refused(command: type[Command], payload: object) -> None:
    """A payload that is not an object is a bad request of the payload itself."""
    with pytest.raises(BadRequest) as refused:
        command.parse(payload)
    assert refused.value.details == {"field": "payload"}


NAME = "expected lower-case segments joined by ':', such as 'room:42', at most 128 characters"
NO_OBJECTS: list[object] = ["x", [], None, 1]
TEXTS: list[tuple[type[Command], object, str]] = [
    *((Send, payload, 'payload: expected one JSON object, such as {"channel": …}') for payload in NO_OBJECTS),
    *((Refresh, payload, 'payload: expected one JSON object, such as {"token": …}') for payload in NO_OBJECTS),
    (Send, {"channel": "Room", "text": "x"}, f"channel: {NAME}"),
    (Send, {"channel": "room:1", "text": "x", "data": []}, "data: expected a JSON object"),
    (Join, {"channel": "room:1", "since": "e"}, "since: expected a JSON object"),
    (ConnectPayload, {"token": "t", "resume": []}, "resume: expected a JSON object"),
    (ConnectPayload, {"token": "t", "resume": {"room:1": 7}}, "resume.*: expected a JSON object"),
    (ConnectPayload, {"token": "t", "resume": {"Room": SINCE}}, f"resume.*: {NAME}"),
]


@pytest.mark.parametrize(("command", "payload", "text"), TEXTS, ids=naming)
def test_what_is_said_of_a_wrong_payload(command: type[Command], payload: object, text: str) -> None:
    """The field once, what was expected, and no name of a class of ours."""
    with pytest.raises(BadRequest) as refused:
        command.parse(payload)
    assert str(refused.value) == text


@pytest.mark.parametrize(("command", "field", "value", "named"), REFUSED, ids=naming)
def test_no_class_is_named(command: type[Command], field: str, value: object, named: str) -> None:
    """Python's words and ours stay in the server."""
    with pytest.raises(BadRequest) as refused:
        command.parse(COMPLETE[command] | {field: value})
    for word in ("dictionary", "instance", "model", *(model.__name__ for model in COMPLETE)):
        assert word not in str(refused.value), word
    assert str(refused.value).count(f"{named}:") == 1


def test_what_is_left_out_has_its_default() -> None:
    """Optional fields are None, a page has 50 messages."""
    send = Send.parse(COMPLETE[Send])
    assert (send.data, send.reply_to, send.key) == (None, None, None)
    page = ReadHistory.parse(COMPLETE[ReadHistory])
    assert (page.before, page.after, page.limit, DEFAULT_PAGE) == (None, None, 50, 50)
    join = Join.parse(COMPLETE[Join])
    assert (join.since, join.history) == (None, None)
    assert ConnectPayload.parse(COMPLETE[ConnectPayload]).resume is None


def test_a_position_is_a_domain_value() -> None:
    """`since` and each entry of `resume` say a `Position`."""
    assert SincePosition.parse(SINCE).position == Position("e", 7)


@pytest.mark.parametrize(("data", "keeps"), [({}, True), ({"data": None}, False), ({"data": {"a": 1}}, False)])
def test_an_edit_keeps_data_where_it_says_nothing_about_it(data: dict[str, object], keeps: bool) -> None:
    """Absent is not `null`: the first keeps the old data, the second removes it."""
    assert Edit.parse(COMPLETE[Edit] | data).keeps_data is keeps


def refusal(command: type[Command], payload: object) -> MaruError | None:
    """The error that the payload meets with, if any."""
    try:
        command.parse(payload)
    except (BadRequest, PayloadTooLarge) as error:
        return error
    return None


def everywhere(value: object) -> list[dict[str, Any]]:
    """Payloads that have the value in each field, and as a name, of each command."""
    fields = sorted({field for command in COMPLETE for field in command.model_fields})
    return [{field: value} for field in fields] + [
        {"token": "t", "resume": {value: SINCE}},
        {"token": "t", "resume": {"room:1": value}},
        {"channel": "room:1", "since": {"epoch": value, "offset": value}},
        {"channel": "room:1", "text": "hi", "data": {value: "\ud800"}},
        {"channel": "room:1", "text": "hi", "data": {"a": [value, "\ud800"]}},
    ]


@pytest.mark.parametrize("value", [SECRET, SECRET * 1_000, f"{SECRET}\ud800"], ids=naming)
def test_no_error_repeats_what_was_sent(value: str) -> None:
    """A token in the wrong place, be it as a value or as a name, is in no error, cause, context or detail."""
    errors = [
        refusal(command, complete | payload) for payload in everywhere(value) for command, complete in COMPLETE.items()
    ]
    refusals = [error for error in errors if error is not None]
    assert len(refusals) > 20
    for error in refusals:
        assert SECRET[:8] not in f"{error!r} {error.details!r} {error.__cause__!r}"
        assert error.__suppress_context__


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted({field for command in COMPLETE for field in command.model_fields}))


@given(st.sampled_from([*COMPLETE]), st.dictionaries(FIELDS, JSON, max_size=6) | JSON)
def test_any_json_is_a_command_or_a_refusal(command: type[Command], payload: object) -> None:
    """No payload makes `parse` fail in another way than its two errors, and those name a field."""
    error = refusal(command, COMPLETE[command] | payload if isinstance(payload, dict) else payload)
    assert error is None or (error.details is not None and "field" in error.details)


NAMED = {
    "a channel": ({"channel": "room:1", "text": 7}, "room:1"),
    "the longest": ({"channel": "a" * MAX_CHANNEL_CHARS}, "a" * MAX_CHANNEL_CHARS),
    "too long": ({"channel": "a" * (MAX_CHANNEL_CHARS + 1)}, None),
    "none": ({"text": "hi"}, None),
    "no name": ({"channel": "Room 1"}, None),
    "no text": ({"channel": ["room:1"]}, None),
    "no object": (["room:1"], None),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("payload", "named"), NAMED.values(), ids=NAMED)
def test_a_payload_names_a_channel_or_none(payload: object, named: str | None) -> None:
    """For the log line: whatever else is wrong with the payload, and nothing that has not the form of a channel."""
    assert channel_of(payload) == named


def test_a_user_is_mentioned_once() -> None:
    """In the order of the payload; also everybody."""
    assert Send.parse({**COMPLETE[Send], "mentions": ["bob", "al", "bob"]}).mentioned == ("bob", "al")
    assert Send.parse({**COMPLETE[Send], "mentions": ["*", "*"]}).mentioned == ("*",)
    assert Send.parse(COMPLETE[Send]).mentioned == ()
