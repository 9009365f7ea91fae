"""The `/chat` namespace: parse, call the use case, answer. Nothing is decided here."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import socketio
import structlog

from server.application import commands
from server.application.channels.subscriptions import Subscriptions
from server.application.commands import ConnectPayload
from server.application.messages.history import History
from server.application.messages.publisher import Publisher
from server.application.sessions.sessions import Sessions
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.errors import BadRequest, Internal, MaruError, Unauthenticated, Unavailable, UnknownEvent
from server.domain.events import MessageDeleted
from server.domain.identity import Identity, SessionId
from server.ports.metrics import SILENT, Metrics
from server.wire import errors, messages, words
from server.wire.words import NAMESPACE, Command, Json

_log = structlog.get_logger("maru.command")


@dataclass(frozen=True, slots=True)
class Guest:
    """Who has been admitted, and what they brought."""

    identity: Identity
    hello: ConnectPayload


class ChatNamespace(socketio.AsyncNamespace):
    """Commands of clients, by an explicit table: a name that is not in it reaches nothing. `command_line` is called
    with the fields of each command's log line, by name."""

    def __init__(
        self,
        sessions: Sessions,
        subscriptions: Subscriptions,
        publisher: Publisher,
        history: History,
        metrics: Metrics = SILENT,
        command_line: Callable[..., None] | None = None,
    ) -> None:
        super().__init__(NAMESPACE)
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._publisher = publisher
        self._history = history
        self._metrics = metrics
        self._command_line = command_line or partial(_log.bind().info, "command")
        self._handlers: dict[str, Callable[[SessionId, object], Awaitable[Json]]] = {
            Command.JOIN: self._join,
            Command.LEAVE: self._leave,
            Command.SEND: self._send,
            Command.EDIT: self._edit,
            Command.DELETE: self._delete,
            Command.HISTORY: self._read_history,
            Command.REFRESH: self._refresh,
        }

    # The door (see `server.gateway.socketio.server.Door`)

    async def admit(self, auth: object) -> Guest:
        """Verify a CONNECT payload. Raises a `MaruError`; a fault of ours is `Internal`, with its traceback logged."""
        try:
            if auth is None or (isinstance(auth, dict) and not auth.get("token")):
                raise Unauthenticated("no token; send it in the CONNECT payload, as auth.token")
            hello = ConnectPayload.parse(auth)
            return Guest(await self._sessions.admit(hello.token), hello)
        except MaruError:
            raise
        except Exception as error:
            _log.exception("admission.failed")
            raise Internal("the server failed to judge the token") from error

    async def opened(self, sid: str, guest: Guest) -> None:
        """Register the session, resume its channels, and say that it is complete."""
        session = SessionId(sid)
        self._sessions.open(session, guest.identity)
        resume = guest.hello.resume or {}
        positions = {ChannelName(channel): since.position for channel, since in resume.items()}
        await self._subscriptions.resume(session, guest.identity, positions)
        self._sessions.ready(session)

    def ended(self, sid: str) -> None:
        """Forget the session."""
        self._sessions.close(SessionId(sid))

    # Commands

    async def trigger_event(self, event: str, sid: str, *args: object) -> Json:
        """Answer one command of a client: always an envelope, never an exception. Counted, and one log line, without
        the payload."""
        began = time.perf_counter()
        answer = await self._answer(event, SessionId(sid), args)
        channel = commands.channel_of(args[0]) if args else None
        self._note(event, sid, channel, answer, time.perf_counter() - began)
        return answer

    def put_off(self, event: str, sid: str) -> Json:
        """Answer a command that is not done, since one before it could not be."""
        answer = errors.failed(Unavailable("a command before this one found the log or the broker away"))
        self._note(event, sid, None, answer, 0.0)
        return answer

    def _note(self, event: str, sid: str, channel: str | None, answer: Json, seconds: float) -> None:
        known = event in self._handlers
        outcome = "ok" if answer["ok"] else answer["error"]["code"]
        self._metrics.commanded(event, outcome, seconds)
        self._command_line(
            name=event if known else "(unknown)",
            session=sid,
            user=self._user(SessionId(sid)),
            channel=channel if known else None,
            offset=answer.get("offset"),
            outcome=outcome,
            ms=round(seconds * 1000, 2),
        )

    async def _answer(self, event: str, session: SessionId, args: tuple[object, ...]) -> Json:
        try:
            handler = self._handlers.get(event)
            if handler is None:
                raise UnknownEvent("no such command; see PROTOCOL.md for the list")
            if len(args) != 1:
                raise BadRequest(f"a command has one payload, got {len(args)}", details={"field": "payload"})
            return await handler(session, args[0])
        except MaruError as error:
            return errors.failed(error)
        except Exception:  # noqa: BLE001  # whatever it is, the client gets an answer, and the others stay
            _log.exception("command.failed", name=event, session=session)
            return errors.failed(Internal("the server failed; its log has the details"))

    async def _join(self, session: SessionId, payload: object) -> Json:
        command = commands.Join.parse(payload)
        identity = self._sessions.identity(session)
        channel = ChannelName(command.channel)
        since = None if command.since is None else command.since.position
        joined = await self._subscriptions.join(session, identity, channel, since, command.history or 0)
        recovered = None if since is None else joined.reason is None
        return errors.ok(channel=channel, **messages.replayed(joined.position, recovered, joined.reason, joined.events))

    async def _leave(self, session: SessionId, payload: object) -> Json:
        command = commands.Leave.parse(payload)
        self._subscriptions.leave(session, ChannelName(command.channel))
        return errors.ok()

    async def _send(self, session: SessionId, payload: object) -> Json:
        command = commands.Send.parse(payload)
        appended = await self._publisher.send(self._sessions.identity(session), command)
        answer = _appended(appended)
        answer["duplicate"] = appended.duplicate
        return answer

    async def _edit(self, session: SessionId, payload: object) -> Json:
        command = commands.Edit.parse(payload)
        return _appended(await self._publisher.edit(self._sessions.identity(session), command))

    async def _delete(self, session: SessionId, payload: object) -> Json:
        command = commands.Delete.parse(payload)
        event = (await self._publisher.delete(self._sessions.identity(session), command)).event
        return errors.ok(epoch=event.epoch, offset=event.offset)

    async def _read_history(self, session: SessionId, payload: object) -> Json:
        command = commands.ReadHistory.parse(payload)
        return errors.ok(**messages.page(await self._history.read(self._sessions.identity(session), command)))

    async def _refresh(self, session: SessionId, payload: object) -> Json:
        command = commands.Refresh.parse(payload)
        identity = await self._sessions.refresh(session, command.token)
        self._subscriptions.apply_grants(session, identity)
        return errors.ok(expires_at=words.timestamp(identity.expires_at))

    def _user(self, session: SessionId) -> str | None:
        try:
            return self._sessions.identity(session).user
        except MaruError:
            return None


def _appended(appended: Appended) -> Json:
    """The part that the acks of `message:send` and `message:edit` have in common."""
    event = appended.event
    assert not isinstance(event, MessageDeleted)  # neither command deletes
    return errors.ok(message=messages.message(event.message), epoch=event.epoch, offset=event.offset)
