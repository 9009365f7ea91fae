"""PROTOCOL.md against the code: either side that changes alone fails here.

Tables are compared with the constants and models that they describe, examples with the shapes that the code writes.
`test_protocol_examples.py` speaks the examples to a server.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from server.adapters.tokens import jwt_verifier
from server.application import commands, deadline
from server.application.people import commands as people
from server.application.people import payloads, receipts, typing
from server.application.sessions import sessions
from server.domain import channels, errors, identity, limits, marks, reactions
from server.domain.events import LogEvent, MessageDeleted, MessageEdited
from server.domain.hooks import Hook, HookFailure
from server.domain.messages import MAX_MENTIONS, Position, Tombstone
from server.domain.presence import MemberJoined, MemberLeft, MembersCounted, RosterHead
from server.domain.pushes import (
    ChannelPush,
    ChannelRemoved,
    ChannelResumed,
    InboxState,
    Push,
    SessionDraining,
    SessionExpiring,
    SessionReady,
)
from server.domain.reactions import Reacted
from server.domain.recovery import REPLAY_BYTES, REPLAY_LIMIT, NotResumable
from server.domain.rules import SMALL_CHANNEL, PresenceDetail
from server.domain.signals import EventEmitted, ReadUpdated, TypingChanged
from server.gateway.socketio import connecting, packets
from server.gateway.websocket import connection, mailbox, registry, writer
from server.gateway.websocket.frames import CloseCode
from server.settings import rules as rule_settings
from server.settings.model import VERSION, Settings
from server.wire import errors as envelopes
from server.wire import messages, pushes, words
from server.wire.answers import Done, Failed, envelope
from server.wire.words import Command, ServerEvent
from tests.doubles.samples import NOW_MS, encoded, event, published, reacted
from tests.harness.protocol_document import DOCUMENT, alike, examples, rows, section
from tests.harness.server import SECRET

MODELS: dict[str, type[commands.Command]] = {
    Command.JOIN: commands.Join,
    Command.LEAVE: commands.Leave,
    Command.SEND: commands.Send,
    Command.EDIT: commands.Edit,
    Command.DELETE: commands.Delete,
    Command.HISTORY: commands.ReadHistory,
    Command.TYPING_START: people.InChannel,
    Command.TYPING_STOP: people.InChannel,
    Command.MARK: people.MarkRead,
    Command.RECEIPTS: people.InChannel,
    Command.REACT: payloads.React,
    Command.UNREACT: payloads.React,
    Command.PUBLISH: payloads.Publish,
    Command.EVENTS: payloads.ReadEvents,
    Command.PRESENCE: commands.ReadPresence,
    Command.FOLLOW: people.InChannel,
    Command.UNFOLLOW: people.InChannel,
    Command.INBOX: people.ReadInbox,
    Command.REFRESH: commands.Refresh,
}
DEFAULTS = Settings(jwt_secret=SecretStr(SECRET))
GREETING = pushes.greeting(DEFAULTS.ping_interval, DEFAULTS.ping_timeout, DEFAULTS.max_channels, VERSION)


def number(value: float) -> str:
    """As numbers stand in the document."""
    return f"{value:,.0f}"


# Tables


def test_every_example_is_json() -> None:
    """What the document calls JSON, a strict parser takes."""
    assert len([orjson.loads(block) for block in examples(DOCUMENT)]) >= 25


def test_the_commands_are_those_of_the_code() -> None:
    """The overview names each command once, each has a section, and the reserved ones are none of them."""
    assert re.findall(r"^\| \[`(\w+:\w+)`\]", section("Commands"), re.MULTILINE) == [*Command] == [*MODELS]
    reserved = set(re.findall(r"`(\w+:\w+)`", section("Not yet in this version")))
    assert reserved.isdisjoint([*Command, *ServerEvent])


def test_the_events_are_those_of_the_code() -> None:
    """The overview names each event once, and every section named like a command or an event is one."""
    assert re.findall(r"^\| \[`(\w+:\w+)`\]", section("Events"), re.MULTILINE) == [*ServerEvent]
    assert re.findall(r"^### `(\w+:\w+)`$", DOCUMENT, re.MULTILINE) == [*Command, *ServerEvent]


def bounds(schema: dict[str, Any]) -> Iterator[float]:
    """The numbers in a field's JSON schema."""
    for inner in (schema, *schema.get("anyOf", ())):
        names = ("minLength", "maxLength", "minimum", "maximum", "maxProperties")
        yield from (inner[name] for name in names if name in inner)
    if schema.get("default") is not None and not isinstance(schema["default"], bool):
        yield schema["default"]


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (commands.ConnectPayload, section("Connect")),
        (commands.ResumedPosition, section("Connect").partition("A position in `resume` has these fields")[2]),
        *((model, section(name)) for name, model in MODELS.items()),
    ],
    ids=["CONNECT", "position", *MODELS],
)
def test_the_field_tables_are_the_models(model: type[commands.Command], table: str) -> None:
    """Same fields in any order, required where the model says so, and each bound of the model in its row."""
    documented = {name: (required, text) for name, _, required, text in rows(table, "field")}
    assert documented.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        required, text = documented[name]
        assert required == ("yes" if field.is_required() else "no"), name
        for bound in bounds(model.model_json_schema()["properties"][name]):
            assert re.search(rf"(?<![\d,]){number(bound)}(?![\d,]\d)", text), (name, bound)


def test_the_error_table_is_the_code() -> None:
    """Seventeen rows, word for word, in the order of the code."""
    table = [[kind.code, kind.meaning, "yes" if kind.retryable else "no", kind.remedy] for kind in errors.TABLE]
    assert rows(section("Errors"), "code") == table
    assert len(table) == 17


def test_the_rules_are_those_of_the_code() -> None:
    """Each rule once, with its default, its words and its bounds."""
    table = {name.strip("`"): (values, default) for name, values, default, _ in rows(section("Rules"), "rule")}
    assert [*table] == [*rule_settings.KEYS]
    for name, kind in (("presence", PresenceDetail), ("hooks", Hook), ("hook_failure", HookFailure)):
        assert re.findall(r"`(\w+)`", table[name][0]) == [*kind]
    assert number(rule_settings.MAX_RETENTION_EVENTS) in table["retention_events"][0]
    assert number(rule_settings.MAX_SLOW_MODE_S) in table["slow_mode_s"][0]
    for name in ("receipts", "typing"):
        assert table[name] == (f"members, 0 to {number(rule_settings.MAX_SHOWN_TO)}", number(SMALL_CHANNEL))


def test_the_close_codes_are_those_of_the_code() -> None:
    """A row for each, with the bounds where a bound closes."""
    table = {int(code): when for code, when, _ in rows(section("Closing"), "close code")}
    assert [*table] == [*CloseCode]
    assert number(limits.MAX_PAYLOAD) in table[CloseCode.MESSAGE_TOO_BIG]
    assert number(writer.MAX_OUTBOUND) in table[CloseCode.TRY_AGAIN_LATER]


def test_the_reasons_are_those_of_the_code() -> None:
    """Why a position can't be resumed from."""
    assert [row[0] for row in rows(section("When it cannot be recovered"), "reason")] == [*NotResumable]


def test_the_limits_are_those_of_the_code() -> None:
    """Every limit of the table, with its number; none is missing on either side."""
    default = {name: field.default for name, field in Settings.model_fields.items()}
    assert dict(rows(section("Limits"), "limit")) == {
        name: number(value)
        for name, value in {
            "message from a client, bytes": limits.MAX_PAYLOAD,
            "`text`, characters": limits.MAX_TEXT_CHARS,
            "`data`, bytes of compact JSON": limits.MAX_DATA_BYTES,
            "`data`, levels": limits.MAX_DATA_DEPTH,
            "`key`, characters": limits.MAX_KEY_CHARS,
            "message id, characters": limits.MAX_ID_CHARS,
            "epoch, characters": limits.MAX_EPOCH_CHARS,
            "channel name, characters": channels.MAX_CHANNEL_CHARS,
            "offset": limits.MAX_OFFSET,
            "token, characters": limits.MAX_TOKEN_CHARS,
            "grant patterns in a token": jwt_verifier.MAX_GRANTS,
            "`sub`, characters": identity.MAX_USER_CHARS,
            "`name`, characters": identity.MAX_NAME_CHARS,
            "channels in `resume`": limits.MAX_RESUME_CHANNELS,
            "channels of a session *": default["max_channels"],
            "events given by `resume` or `since`, per channel": REPLAY_LIMIT,
            "KiB of JSON given at once, about: a replay, `history`, a page": REPLAY_BYTES // 1024,
            "`history` of `channel:join`, events": limits.MAX_JOIN_HISTORY,
            "`limit` of `history:read`, messages": limits.MAX_PAGE,
            "`limit` of `history:read` if absent, messages": limits.DEFAULT_PAGE,
            "emoji, characters": reactions.MAX_EMOJI_CHARS,
            "emojis of a message": reactions.MAX_EMOJIS,
            "reactions of a message": reactions.MAX_REACTORS,
            "users named with an emoji": reactions.SHOWN_USERS,
            "`mentions` of a message": MAX_MENTIONS,
            "name of an application's event, characters": payloads.MAX_EVENT_NAME_CHARS,
            "ack id, digits": packets.MAX_ACK_DIGITS,
            "commands waiting before the server stops reading": mailbox.MAILBOX_HIGH,
            "bytes waiting for a slow reader": writer.MAX_OUTBOUND,
            "time to CONNECT, seconds": registry.CONNECT_WAIT_S,
            "refused CONNECTs of a WebSocket": connecting.MAX_REFUSALS,
            "events ignored behind a refused CONNECT or a DISCONNECT": connecting.MAX_LATE_EVENTS,
            "time to close after `session:terminated`, seconds": connection.PART_WAIT_S,
            "answer to `message:send`, seconds": deadline.COMMAND_DEADLINE_S,
            "wait for a close frame, seconds": connection.CLOSE_WAIT_S,
            "ping interval, milliseconds *": default["ping_interval"] * 1_000,
            "ping timeout, milliseconds *": default["ping_timeout"] * 1_000,
            "channels that a user follows": marks.MAX_FOLLOWS,
            "`limit` of `inbox:read`, channels": marks.MAX_INBOX,
            "marks in an answer to `receipts:read`": marks.MAX_RECEIPTS,
            "a user's mark told again after, seconds": receipts.TOLD_S,
            "users told to type at the same time, per channel": typing.MAX_TYPISTS,
            "typing told again after, milliseconds": limits.TYPING_MS,
            "typing over at the receiver after, milliseconds": limits.TYPING_EXPIRES_MS,
            "life of a key, hours": limits.KEY_LIFETIME_MS / 3_600_000,
            "`session:expiring` before `exp`, seconds": sessions.EXPIRY_NOTICE_MS / 1_000,
            "grace after `exp`, seconds *": default["token_grace"],
            "clocks may differ by, seconds *": default["jwt_leeway"],
            "events kept per channel *": default["retention_events"],
            "days an event is kept *": default["retention_age"] / 86_400,
        }.items()
    }


@pytest.mark.parametrize(
    ("heading", "sentence"),
    [
        ("Transport", f"**{registry.CONNECT_WAIT_S:.0f} seconds to CONNECT.**"),
        ("Transport", f"at most {number(limits.MAX_PAYLOAD)} bytes"),
        ("The token", f"1 to {identity.MAX_USER_CHARS} characters"),
        ("The token", f"At most {number(jwt_verifier.MAX_GRANTS)} patterns"),
        ("The life of a session", f"`session:expiring` comes {sessions.EXPIRY_NOTICE_MS // 1_000} s before"),
        ("Commands", f"If {mailbox.MAILBOX_HIGH} commands"),
        ("message:send", f"{number(limits.MAX_DATA_BYTES)} bytes as compact JSON"),
        ("message:send", f"at most {limits.MAX_DATA_DEPTH} levels"),
        ("message:send", f"Within {limits.KEY_LIFETIME_MS // 3_600_000} h"),
        ("message:edit", f"{number(limits.MAX_DATA_BYTES)} bytes, {limits.MAX_DATA_DEPTH} levels"),
        ("Positions and resume", f"At most {number(REPLAY_LIMIT)} events"),
        ("Refused", f"no session {registry.CONNECT_WAIT_S:.0f} s after a refusal"),
        ("Refused", f"after {connecting.MAX_REFUSALS} refused CONNECTs"),
        ("Refused", f"more than {connecting.MAX_LATE_EVENTS} such events"),
        ("Closing", f"waits at most {connection.CLOSE_WAIT_S:.0f} s"),
        ("Names", f"at most {channels.MAX_CHANNEL_CHARS} characters"),
        ("Versions", "This is version 1."),
    ],
)
def test_the_numbers_in_the_prose_are_those_of_the_code(heading: str, sentence: str) -> None:
    """Numbers that are told where they matter, beside the table of limits."""
    assert sentence in " ".join(section(heading).split())


def test_the_names_are_those_of_the_code() -> None:
    """The pattern of channel names, as written, takes what the code takes; the namespace is the code's."""
    found = re.search(r"\*\*Channel\*\*: `([^`]+)`", section("Names"))
    assert found
    for name in ("room:42", "announce", "dm:alice:bob", "a.b_c-d:1", "0", "Room", ":x", "x:", "x::y", "-x", "x:-", ""):
        assert bool(re.fullmatch(found[1], name)) == channels.is_pattern(name), name
    assert f"**The namespace `{words.NAMESPACE}`**" in section("Quick start")


RECIPES = {"Kotlin and Java": "kotlin", "Swift": "swift", "Dart": "dart"}


@pytest.mark.parametrize(("heading", "language"), RECIPES.items(), ids=RECIPES)
def test_a_recipe_is_a_whole_client_in_sixty_lines(heading: str, language: str) -> None:
    """It connects, joins from positions at `session:ready`, repeats sends by key, refreshes, and moves in a drain."""
    [recipe] = examples(section(heading), language)
    assert len(recipe.splitlines()) <= 60
    assert max(map(len, recipe.splitlines())) <= 120
    told = {ServerEvent.SESSION_READY, ServerEvent.SESSION_EXPIRING, ServerEvent.SESSION_DRAINING}
    told |= {ServerEvent.MESSAGE_CREATED, ServerEvent.MESSAGE_EDITED, ServerEvent.MESSAGE_DELETED}
    told |= {ServerEvent.CHANNEL_RESUMED, ServerEvent.CHANNEL_REMOVED}
    words_of_it = set(re.findall(r"""["']([a-z_]+(?::[a-z]+)?)["']""", recipe))
    assert words_of_it >= told | {Command.JOIN, Command.SEND, Command.REFRESH, "key", "epoch", "offset"}
    assert all(word in recipe for word in ("since", "retry_after_ms", "/chat"))
    assert re.search(r"'websocket'|\"websocket\"|forceWebsockets", recipe)


def test_the_table_of_libraries_is_whole() -> None:
    """A row for each library, every cell filled, and said whether it was run or read."""
    table = rows(section("What the libraries do"), "library")
    names = "JavaScript", "JavaScript", "Java and Kotlin", "swift", "Dart", "Go", "rust", "python"
    for row, name in zip(table, names, strict=True):
        assert name in row[0]
        assert re.search(r"\((run|read)|, run with|\(run, ", row[0]), row[0]
        assert (len(row), all(row)) == (7, True)


# Examples, against the shapes of the code


def deleted(offset: int) -> LogEvent:
    """A deletion."""
    gone = event(offset)
    return MessageDeleted(gone.channel, gone.epoch, gone.offset, gone.at, gone.message.id)


def edited(offset: int) -> LogEvent:
    """An edit."""
    new = event(offset)
    return MessageEdited(new.channel, new.epoch, new.offset, new.at, new.message)


def resumed(reason: NotResumable | None) -> Push:
    """A channel's position, and one event where all of them are given."""
    return ChannelResumed(event(1).channel, Position("one", 1), reason, () if reason else encoded([event(1)]))


def log_event(value: LogEvent) -> tuple[str, dict[str, Any]]:
    """The name and the body of an event."""
    encoded = messages.encode(value)
    return encoded.name, orjson.loads(encoded.json)


def an_inbox() -> marks.InboxPage:
    """A channel whose last message is deleted."""
    last = event(1)
    mark = marks.Mark(0, 1, 0, Position("one", 2))
    gone = Tombstone(last.message.id, last.channel, 1)
    return marks.InboxPage([marks.InboxEntry(last.channel, mark, gone, NOW_MS)], "1.room:1")


def told(value: ChannelPush) -> tuple[str, Any]:
    """The name and the body of what is said to a channel."""
    name, [body] = pushes.told(value)
    return name, body


EMITTED = EventEmitted(event(1).channel, "cursor", event(1).message.author, {"x": 0.5, "y": 0.5})
REACTIONS = tuple(Reacted(emoji, 1, (identity.UserId("alice"),)) for emoji in ("👍", "🎉"))
HEAD = RosterHead("one", 1, 1)
READY = SessionReady(identity.SessionId("s"), identity.UserId("alice"), NOW_MS)


@pytest.mark.parametrize(
    ("name", "bodies"),
    [
        (ServerEvent.MESSAGE_CREATED, [log_event(event(1))]),
        (ServerEvent.MESSAGE_EDITED, [log_event(edited(2))]),
        (ServerEvent.MESSAGE_DELETED, [log_event(deleted(2))]),
        (ServerEvent.TYPING_CHANGED, [told(TypingChanged(event(1).channel, identity.UserId("bob"), typing=True))]),
        (ServerEvent.INBOX_STATE, [pushes.push(InboxState(an_inbox()), {})]),
        (ServerEvent.READ_UPDATED, [told(ReadUpdated(event(1).channel, identity.UserId("bob"), 3))]),
        (ServerEvent.REACTION_CHANGED, [log_event(replace(reacted(2), reactions=REACTIONS))]),
        (ServerEvent.EVENT_PUBLISHED, [log_event(replace(published(2), data={"order": 2})), told(EMITTED)]),
        (ServerEvent.PRESENCE_JOINED, [told(MemberJoined(event(1).channel, identity.UserId("bob"), "Bob", HEAD))]),
        (ServerEvent.PRESENCE_LEFT, [told(MemberLeft(event(1).channel, identity.UserId("bob"), "Bob", HEAD))]),
        (ServerEvent.PRESENCE_COUNT, [told(MembersCounted(event(1).channel, HEAD, names=False))]),
        (
            ServerEvent.CHANNEL_RESUMED,
            [pushes.push(resumed(None), {}), pushes.push(resumed(NotResumable.EPOCH_CHANGED), {})],
        ),
        (
            ServerEvent.CHANNEL_REMOVED,
            [pushes.push(ChannelRemoved(event(1).channel, errors.PermissionDenied), {})],
        ),
        (ServerEvent.SESSION_READY, [pushes.push(READY, GREETING)]),
        (ServerEvent.SESSION_EXPIRING, [pushes.push(SessionExpiring(NOW_MS), {})]),
        (ServerEvent.SESSION_DRAINING, [pushes.push(SessionDraining(4_180, 6_180), {})]),
        (
            ServerEvent.SESSION_TERMINATED,
            [
                (
                    ServerEvent.SESSION_TERMINATED,
                    pushes.terminated(errors.TokenExpired("the session's token has expired")),
                )
            ],
        ),
    ],
)
def test_the_examples_of_events_have_the_fields_of_the_code(
    name: ServerEvent, bodies: list[tuple[ServerEvent, dict[str, Any]]]
) -> None:
    """Each example is an event of its section, with exactly the fields that the server writes."""
    documented = [orjson.loads(block) for block in examples(section(name))]
    assert len(documented) == len(bodies)
    for (event_name, example), (real_name, written) in zip(documented, bodies, strict=True):
        body = orjson.loads(orjson.dumps(written))
        assert event_name == real_name == name
        assert alike(example, body), body


def test_the_limits_of_the_example_are_those_that_the_server_announces() -> None:
    """`session:ready` in the document is that of a server with default settings."""
    [[_, example]] = [orjson.loads(block) for block in examples(section("session:ready"))]
    assert {name: example[name] for name in GREETING} == GREETING


def test_the_table_of_message_fields_is_the_code() -> None:
    """One row for each field of a message, in the order of the wire."""
    fields = [row[0] for row in rows(section("message:created"), "field of `message`")]
    assert fields == [*messages.message(event(1).message)]


def test_the_example_of_connect_is_accepted() -> None:
    """The CONNECT payload, with every field."""
    payload = orjson.loads(examples(section("Connect"))[0])
    assert (
        payload.keys()
        == commands.ConnectPayload.parse(payload).model_fields_set
        == commands.ConnectPayload.model_fields.keys()
    )


def test_the_examples_of_refusals_are_those_of_the_code() -> None:
    """CONNECT_ERROR, and an ack that reports a failure."""
    refusal = envelopes.connect_error(errors.Unauthenticated("the token's signature does not match"))
    assert orjson.loads(examples(section("Refused"))[0]) == refusal
    with pytest.raises(errors.BadRequest) as caught:
        commands.Send.parse({"channel": "room:42", "text": ""})
    assert [orjson.loads(block) for block in examples(section("Commands"))] == [
        envelope(Done({})),
        envelope(Failed(caught.value)),
    ]
