"""The namespace: how a command of a client ends, as one answer, one count and one log line."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.commands import Leave
from server.application.messages.history import History
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.domain.errors import BadRequest, Internal, TokenExpired, Unauthenticated
from server.domain.identity import SessionId
from server.domain.presence import Departure
from server.domain.pushes import SessionReady
from server.gateway.chat.handler import Handler, Reply
from server.gateway.chat.handlers import channels, messages
from server.gateway.chat.namespace import ChatNamespace
from server.ports.token_verifier import TokenVerifier
from server.wire.answers import Answer, Done, Failed
from server.wire.words import Command
from tests.doubles.faulty_log import Gate
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity
from tests.doubles.tokens import KnownTokens

ALICE = SessionId("alice's")
TEXT: dict[str, object] = {"channel": ROOM, "text": "hello"}


async def fails(session: Session, command: Leave, reply: Reply) -> None:
    """A handler with a fault."""
    raise RuntimeError("a fault of ours")


async def answers_twice(session: Session, command: Leave, reply: Reply) -> None:
    """A handler that fails after its answer."""
    reply(Done({"first": True}))
    raise RuntimeError("too late")


@dataclass
class Scene:
    """A namespace over use cases in memory, and what it says of each command."""

    replica: Replica
    tokens: KnownTokens = field(default_factory=KnownTokens)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)
    lines: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sessions = self.sessions_with(self.tokens)
        self.namespace = self.namespace_with(self.sessions)
        self.replica.transport.connect(ALICE)
        self.alice = self.sessions.open(ALICE, identity("alice"))

    def sessions_with(self, verifier: TokenVerifier) -> Sessions:
        transport = self.replica.transport
        return Sessions(verifier, transport, transport.end_memberships, lambda: NOW_MS, 0)

    def namespace_with(self, sessions: Sessions) -> ChatNamespace:
        handlers = {
            **channels.handlers(self.replica.subscriptions),
            **messages.handlers(self.replica.publisher, History(self.replica.log)),
            "test:fails": Handler(Leave, fails),
            "test:twice": Handler(Leave, answers_twice),
        }

        def line(**fields: Any) -> None:
            self.lines.append(fields)

        return ChatNamespace(sessions, self.replica.subscriptions, handlers, self.replica.publisher, self.metrics, line)

    async def run(self, name: str, *arguments: object) -> Answer:
        """Run one command of Alice's; what is returned is what was replied, once."""
        self.replies.clear()
        answer = await self.namespace.run(self.alice, name, arguments, self.replies.append)
        assert self.replies == [answer]
        return answer


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Alice is in."""
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS)
    async with replica(log, MemoryBroadcast()) as parts:
        yield Scene(parts)


JOINED = {"channel", "epoch", "offset", "recovered", "events", "read_offset", "unread", "unread_mentions"}

DONE: dict[str, tuple[str, dict[str, object], set[str], int | None]] = {
    "join": ("channel:join", {"channel": ROOM}, JOINED, 0),
    "leave": ("channel:leave", {"channel": ROOM}, set(), None),
    "send": ("message:send", TEXT, {"message", "epoch", "offset", "duplicate"}, 1),
    "history": ("history:read", {"channel": ROOM}, {"messages", "epoch", "offset", "more"}, 0),
}


@pytest.mark.parametrize(("name", "payload", "fields", "offset"), DONE.values(), ids=DONE)
async def test_a_command_that_is_done(
    scene: Scene, name: str, payload: object, fields: set[str], offset: int | None
) -> None:
    """One answer with the command's fields, one count, one line with the channel and the offset."""
    answer = await scene.run(name, payload)
    assert isinstance(answer, Done)
    assert (set(answer.fields), answer.offset) == (fields, offset)
    assert [told[:2] for told in scene.metrics.of("commanded")] == [(name, "ok")]
    (line,) = scene.lines
    assert line.pop("ms") >= 0
    assert line == {
        "name": name,
        "session": ALICE,
        "user": "alice",
        "channel": ROOM,
        "offset": offset,
        "outcome": "ok",
    }


FAILED: dict[str, tuple[str, tuple[object, ...], str, str, str | None]] = {
    "no such command": ("no:such", (TEXT,), "unknown_event", "(unknown)", None),
    "a name of the library": ("connect", (TEXT,), "unknown_event", "(unknown)", None),
    "no payload": ("message:send", (), "bad_request", "message:send", None),
    "two payloads": ("message:send", (TEXT, TEXT), "bad_request", "message:send", ROOM),
    "a payload that is no object": ("message:send", ("text",), "bad_request", "message:send", None),
    "a field that is wrong": ("message:send", ({"channel": ROOM},), "bad_request", "message:send", ROOM),
    "a channel that is none": ("message:send", ({"channel": "A B"},), "bad_request", "message:send", None),
    "a message that is not there": (
        "message:delete",
        ({"channel": ROOM, "id": "x"},),
        "not_found",
        "message:delete",
        ROOM,
    ),
    "a fault of ours": ("test:fails", ({"channel": ROOM},), "internal", "test:fails", ROOM),
}


@pytest.mark.parametrize(("name", "arguments", "code", "shown", "channel"), FAILED.values(), ids=FAILED)
async def test_a_command_that_fails(
    scene: Scene, name: str, arguments: Sequence[object], code: str, shown: str, channel: str | None
) -> None:
    """One answer with a code of the closed table; an unknown name and its channel are never logged."""
    answer = await scene.run(name, *arguments)
    assert isinstance(answer, Failed)
    assert answer.error.code == code
    assert [told[:2] for told in scene.metrics.of("commanded")] == [(name, code)]
    assert [(line["name"], line["channel"], line["outcome"]) for line in scene.lines] == [(shown, channel, code)]


async def test_an_unknown_command_is_told_the_known_ones(scene: Scene) -> None:
    """All of them, by their names on the wire: that answers what a newcomer would look up."""
    answer = await scene.run("message", TEXT)
    assert isinstance(answer, Failed)
    assert answer.error.message == (
        "no such command; the commands are channel:join, channel:leave, message:send, message:edit, message:delete, "
        "history:read, test:fails, test:twice"
    )


@pytest.mark.parametrize("auth", ["token", "", 7, [], ["token"], True, False])
async def test_auth_that_is_no_object(scene: Scene, auth: object) -> None:
    """Both ways of a CONNECT say what it has to be."""
    with pytest.raises(BadRequest, match=r"^auth is an object {token}$"):
        await scene.namespace.admit(auth)
    with pytest.raises(BadRequest, match=r"^auth is an object {token}$"):
        scene.namespace.admit_at_once(auth)


async def test_the_first_answer_counts(scene: Scene) -> None:
    """A handler that fails after it has answered does not answer again."""
    assert await scene.run("test:twice", {"channel": ROOM}) == Done({"first": True})


async def test_an_answer_that_cannot_be_written_is_internal(scene: Scene) -> None:
    """The client gets an answer, and the command is counted as failed: not lost, and not as done."""

    def reply(answer: Answer) -> None:
        if isinstance(answer, Done):
            raise TypeError("no JSON")
        scene.replies.append(answer)

    answer = await scene.namespace.run(scene.alice, "channel:leave", ({"channel": ROOM},), reply)
    assert scene.replies == [answer]
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, Internal)
    assert [told[:2] for told in scene.metrics.of("commanded")] == [("channel:leave", "internal")]


async def test_a_session_that_has_ended_does_nothing(scene: Scene) -> None:
    """Its commands that still wait are `unauthenticated`; its memberships are gone."""
    await scene.run("channel:join", {"channel": ROOM})
    scene.namespace.ended(scene.alice, Departure.LEFT)
    assert scene.replica.transport.channels(ALICE) == []
    answer = await scene.run("message:send", TEXT)
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, Unauthenticated)


async def test_a_skipped_command_is_to_be_retried(scene: Scene) -> None:
    """It is answered `unavailable`, counted and logged, and not run."""
    scene.namespace.refuse_skipped(scene.alice, "message:send", scene.replies.append)
    (answer,) = scene.replies
    assert isinstance(answer, Failed)
    assert (answer.error.code, answer.error.retryable) == ("unavailable", True)
    assert scene.metrics.of("commanded") == [("message:send", "unavailable", 0.0)]
    assert [(line["name"], line["user"], line["channel"]) for line in scene.lines] == [("message:send", "alice", None)]


async def test_a_leave_is_never_skipped(scene: Scene) -> None:
    """It needs neither the log nor the broker; every other command may need them."""
    assert [name for name in Command if not scene.namespace.may_skip(name)] == [Command.LEAVE]


# Admission


async def test_a_client_is_admitted_by_its_token(scene: Scene) -> None:
    """It gets its identity; once the session is open and its channels are resumed it is told `session:ready`."""
    scene.tokens.issue("good", identity("bob"))
    admitted = await scene.namespace.admit({"token": "good"})
    assert admitted.identity == identity("bob")
    bob = SessionId("bob's")
    inbox = scene.replica.transport.connect(bob)
    session = scene.namespace.open(bob, admitted)
    await scene.namespace.resume(session, admitted)
    assert inbox == [SessionReady(bob, identity("bob").user, identity("bob").expires_at)]
    assert (session.identity, len(scene.sessions)) == (identity("bob"), 2)


@pytest.mark.parametrize("auth", [None, {}, {"token": ""}, {"token": "bad"}])
async def test_no_token_or_a_bad_one_is_unauthenticated(scene: Scene, auth: object) -> None:
    """Whether it is missing, empty or unknown."""
    with pytest.raises(Unauthenticated):
        await scene.namespace.admit(auth)


class _Fails(TokenVerifier):
    def verify_at_once(self, token: str) -> Any:
        raise RuntimeError("a fault of ours")

    async def verify(self, token: str) -> Any:
        raise RuntimeError("a fault of ours")


class _Expired(TokenVerifier):
    def verify_at_once(self, token: str) -> Any:
        raise TokenExpired("the token has expired")

    async def verify(self, token: str) -> Any:
        raise TokenExpired("the token has expired")


async def test_a_fault_while_judging_a_token_is_internal(scene: Scene) -> None:
    """The client gets a code of the table, and an expected refusal stays what it is."""
    for verifier, error in ((_Fails(), Internal), (_Expired(), TokenExpired)):
        with pytest.raises(error):
            await scene.namespace_with(scene.sessions_with(verifier)).admit({"token": "any"})
        with pytest.raises(error):
            scene.namespace_with(scene.sessions_with(verifier)).admit_at_once({"token": "any"})


async def test_a_client_is_admitted_at_once_if_nothing_has_to_be_waited_for(scene: Scene) -> None:
    """As `admit` does; a client that resumes, or whose token takes time, is admitted by it."""
    scene.tokens.issue("good", identity("bob"))
    good: dict[str, Any] = {"token": "good"}
    assert scene.namespace.admit_at_once(good) == await scene.namespace.admit(good)
    assert scene.namespace.admit_at_once(good | {"resume": {}}) is not None
    assert scene.namespace.admit_at_once(good | {"resume": {ROOM: {"epoch": "e", "offset": 0}}}) is None
    for auth in (None, {}, {"token": ""}, {"token": "bad"}):
        with pytest.raises(Unauthenticated):
            scene.namespace.admit_at_once(auth)
    scene.tokens.before = Gate()
    assert scene.namespace.admit_at_once(good) is None


async def test_a_join_at_once_ends_as_any_command(scene: Scene) -> None:
    """One answer, one count, one line; a join that is not done at once leaves nothing of these."""
    assert not scene.namespace.join(scene.alice, {"channel": ROOM}, scene.replies.append)
    assert (scene.replies, scene.lines, scene.metrics.of("commanded")) == ([], [], [])
    ordinary = await scene.run("channel:join", {"channel": ROOM})
    scene.replies.clear()
    assert scene.namespace.join(scene.alice, {"channel": ROOM}, scene.replies.append)
    assert scene.replies == [ordinary]
    lines = [{**line, "ms": 0} for line in scene.lines]
    assert lines[0] == lines[1]
    assert [told[:2] for told in scene.metrics.of("commanded")] == [("channel:join", "ok")] * 2
    scene.sessions.close(scene.alice)
    assert not scene.namespace.join(scene.alice, {"channel": ROOM}, scene.replies.append)
