"""The `/chat` namespace: admit, then parse, call the use case and answer. Nothing is decided here."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Command, ConnectPayload, channel_of
from server.application.limits.limiter import Shortage
from server.application.messages.publisher import Publisher
from server.application.people.inboxes import Inboxes
from server.application.sessions.session import Session, session_ended
from server.application.sessions.sessions import Sessions
from server.domain.channels import ChannelName
from server.domain.drafts import Sender
from server.domain.errors import (
    BadRequest,
    Internal,
    MaruError,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnknownCommand,
)
from server.domain.identity import SessionId
from server.domain.presence import Departure
from server.gateway.chat.handler import Handler, Handlers
from server.gateway.chat.joins import Joins
from server.gateway.chat.refusals import Refusals
from server.gateway.chat.sends import Sends
from server.gateway.socketio.namespace import Admitted, Namespace, Reply, SendReply
from server.ports.metrics import SILENT, CommandMetrics
from server.wire import words
from server.wire.answers import Answer, Done, Failed

_log = structlog.get_logger("maru.command")


class ChatNamespace(Namespace):
    """Commands of clients, by an explicit table: a name that is not in it reaches nothing. `command_line` is called
    with the fields of each command's log line, by name."""

    def __init__(
        self,
        sessions: Sessions,
        subscriptions: Subscriptions,
        handlers: Handlers,
        publisher: Publisher,
        metrics: CommandMetrics = SILENT,
        command_line: Callable[..., None] | None = None,
        inboxes: Inboxes | None = None,
    ) -> None:
        self._inboxes = inboxes
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._handlers = handlers
        self._metrics = metrics
        self._command_line = command_line or partial(_log.bind().info, "command")
        self._refusals = Refusals(sessions, metrics)
        refused = partial(self._refusals.note, name=words.Command.SEND)
        self._sends = Sends(publisher, subscriptions.hosts, partial(self._note_done, words.Command.SEND), refused)
        self._joins = Joins(subscriptions, self._note)

    # Sessions

    async def admit(self, auth: object) -> Admitted:
        """Verify a CONNECT payload. Raises `MaruError`; a fault of ours is `Internal`, with its traceback logged."""
        try:
            payload = _connect_payload(auth)
            return Admitted(await self._sessions.admit(payload.token), payload)
        except MaruError:
            raise
        except Exception as error:
            raise _admission_failed() from error

    def admit_at_once(self, auth: object) -> Admitted | None:
        """As `admit`, if the client resumes nothing and its token can be judged without waiting; else None."""
        try:
            payload = _connect_payload(auth)
            identity = None if payload.resume or payload.inbox else self._sessions.admit_at_once(payload.token)
            return None if identity is None else Admitted(identity, payload)
        except MaruError:
            raise
        except Exception as error:
            raise _admission_failed() from error

    def open(self, id: SessionId, admitted: Admitted) -> Session:
        """Begin a session."""
        return self._sessions.open(id, admitted.identity)

    async def resume(self, session: Session, admitted: Admitted) -> None:
        """Bring a new session back into its channels, and tell it that it is complete."""
        if resume := admitted.payload.resume:
            positions = {ChannelName(channel): since.position for channel, since in resume.items()}
            quiet = tuple(ChannelName(channel) for channel, since in resume.items() if since.presence is False)
            await self._subscriptions.resume(session.id, admitted.identity, positions, quiet)
        if admitted.payload.inbox and self._inboxes is not None:
            await self._inboxes.give(session, admitted.payload.inbox)
        self.ready(session)

    def ready(self, session: Session) -> None:
        """Tell a session that it is complete."""
        self._sessions.ready(session)

    def lost(self, session: Session) -> None:
        """Wait for nothing any more on behalf of a session whose connection is gone."""
        self._subscriptions.gone(session.id)

    def ended(self, session: Session, departure: Departure) -> None:
        """End the session's memberships, and the session."""
        self._sessions.close(session)
        self._subscriptions.end(session.id, departure)

    # Commands

    def submit(self, session: Session, payload: object, sender: Sender, reply: SendReply) -> bool:
        """Begin a send that needs no task, if it is one."""
        return self._sends.submit(session, payload, sender, reply)

    def join(self, session: Session, payload: object, reply: Reply) -> bool:
        """Handle a join that needs no task, if it is one."""
        return self._joins.join(session, payload, reply)

    def joins_under_way(self, session: Session) -> bool:
        """Say whether joins of the session are under way without a task."""
        return self._joins.under_way(session)

    async def run(self, session: Session, name: str, arguments: Sequence[object], reply: Reply) -> Answer:
        """Run a command: always an answer, never an exception. It is counted, and logged without its payload."""
        began = time.perf_counter()
        outcome: Answer | None = None
        channel: str | None = None

        def answer(given: Answer) -> None:
            nonlocal outcome
            if outcome is None:
                reply(given)  # if the answer can't be written, the client still gets `internal`
                outcome = given

        try:
            handler, command = self._parse(session, name, arguments)
            channel = getattr(command, "channel", None)
            await handler.run(session, command, answer)
        except MaruError as error:
            answer(Failed(error))
        except Exception:  # noqa: BLE001  # the client gets an answer whatever the fault is, and the others stay
            _log.exception("command.failed", name=name, session=session.id)
            answer(Failed(Internal("the server failed; its log has the details")))
        assert outcome is not None  # a handler replies or raises
        if channel is None and arguments:  # the payload is not valid, but may name its channel
            channel = channel_of(arguments[0])
        self._note(session, name, channel, outcome, time.perf_counter() - began)
        return outcome

    def _parse(self, session: Session, name: str, arguments: Sequence[object]) -> tuple[Handler[Any], Command]:
        handler = self._handlers.get(name)
        if handler is None:
            raise UnknownCommand(f"no such command; the commands are {', '.join(self._handlers)}")
        if len(arguments) != 1:
            raise BadRequest(f"a command has one payload, got {len(arguments)}", details={"field": "payload"})
        command = handler.payload.parse(arguments[0])
        if session.ended:
            raise session_ended()
        return handler, command

    def refuse(self, session: Session, name: str, shortage: Shortage) -> Answer:
        """Return the answer to a command that is refused because of a rate, before it is parsed. Its session may have
        ended then."""
        message = f"too many commands; the limit is {shortage.bucket}"
        error = RateLimited.by(shortage.bucket, shortage.wait, message)
        answer = Failed(error)
        self._note(session, name, None, answer, 0.0, taken=False)
        return answer

    def may_skip(self, name: str) -> bool:
        """Return whether a command may be refused because an earlier one failed: a leave needs neither the log nor the
        broker, and a client that does not repeat it would go on getting the channel."""
        return name != words.Command.LEAVE

    def refuse_skipped(self, session: Session, name: str, reply: Reply) -> Answer:
        """Refuse a command because an earlier command failed with `unavailable`."""
        answer = Failed(Unavailable("skipped: an earlier command failed with 'unavailable'; retry both in order"))
        reply(answer)
        self._note(session, name, None, answer, 0.0)
        return answer

    def _note(
        self, session: Session, name: str, channel: str | None, answer: Answer, seconds: float, *, taken: bool = True
    ) -> None:
        """Count and log a command. `taken`: it was taken from the buckets of its session."""
        known = name in self._handlers
        outcome, offset = ("ok", answer.offset) if isinstance(answer, Done) else (answer.error.code, None)
        self._metrics.commanded(name, outcome, seconds)
        self._write_line(session, name if known else "(unknown)", channel if known else None, outcome, offset, seconds)
        if isinstance(answer, Failed):
            self._refusals.note(session, name, answer.error, seconds if taken else None)

    def _note_done(  # the name of the command, and then as `Note`
        self, name: str, session: Session, channel: str, outcome: str, offset: int | None, seconds: float
    ) -> None:
        self._metrics.commanded(name, outcome, seconds)
        self._write_line(session, name, channel, outcome, offset, seconds)

    def _write_line(  # the fields of the line
        self, session: Session, name: str, channel: str | None, outcome: str, offset: int | None, seconds: float
    ) -> None:
        self._command_line(
            name=name,
            session=session.id,
            user=session.identity.user,
            channel=channel,
            offset=offset,
            outcome=outcome,
            ms=round(seconds * 1000, 2),
        )


def _connect_payload(auth: object) -> ConnectPayload:
    if auth is None or (isinstance(auth, dict) and not auth.get("token")):
        raise Unauthenticated("no token; send it in the CONNECT payload, as auth.token")
    if not isinstance(auth, dict):
        raise BadRequest("auth is an object {token}", details={"field": "auth"})
    return ConnectPayload.parse(auth)


def _admission_failed() -> Internal:
    """Log the error that is being handled, and return the one for the client."""
    _log.exception("admission.failed")
    return Internal("the server failed to judge the token")
