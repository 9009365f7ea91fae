"""The `/chat` namespace: admit, then parse, call the use case and answer. Nothing is decided here."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from server.application.channels.subscriptions import Subscriptions
from server.application.commands import ConnectPayload, channel_of
from server.application.sessions.sessions import Sessions, session_ended
from server.domain.channels import ChannelName
from server.domain.errors import BadRequest, Internal, MaruError, Unauthenticated, Unavailable, UnknownCommand
from server.domain.identity import Identity, SessionId
from server.gateway.chat.call import Call, Handlers
from server.gateway.socketio.namespace import Admitted, Namespace
from server.ports.metrics import SILENT, Metrics
from server.wire.answers import Answer, Done, Failed

_log = structlog.get_logger("maru.command")

Reply = Callable[[Answer], None]


class ChatNamespace(Namespace):
    """Commands of clients, by an explicit table: a name that is not in it reaches nothing. `command_line` is called
    with the fields of each command's log line, by name."""

    def __init__(
        self,
        sessions: Sessions,
        subscriptions: Subscriptions,
        handlers: Handlers,
        metrics: Metrics = SILENT,
        command_line: Callable[..., None] | None = None,
    ) -> None:
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._handlers = handlers
        self._metrics = metrics
        self._command_line = command_line or partial(_log.bind().info, "command")

    # Sessions

    async def admit(self, auth: object) -> Admitted:
        """Verify a CONNECT payload. Raises `MaruError`; a fault of ours is `Internal`, with its traceback logged."""
        try:
            if auth is None or (isinstance(auth, dict) and not auth.get("token")):
                raise Unauthenticated("no token; send it in the CONNECT payload, as auth.token")
            payload = ConnectPayload.parse(auth)
            return Admitted(await self._sessions.admit(payload.token), payload)
        except MaruError:
            raise
        except Exception as error:
            _log.exception("admission.failed")
            raise Internal("the server failed to judge the token") from error

    async def opened(self, session: SessionId, admitted: Admitted) -> None:
        """Register the session, resume its channels, and say that it is complete."""
        self._sessions.open(session, admitted.identity)
        resume = admitted.payload.resume or {}
        positions = {ChannelName(channel): since.position for channel, since in resume.items()}
        await self._subscriptions.resume(session, admitted.identity, positions)
        self._sessions.ready(session)

    def ended(self, session: SessionId) -> None:
        """End the session's memberships, and forget it."""
        self._sessions.close(session)
        self._subscriptions.end(session)

    # Commands

    async def run(self, session: SessionId, name: str, arguments: Sequence[object], reply: Reply) -> Answer:
        """Answer one command of a client: always an envelope, never an exception. Counted, and one log line, without
        the payload."""
        began = time.perf_counter()
        call, identity = Call(session, reply), self._sessions.find(session)
        try:
            await self._handle(call, identity, name, arguments)
        except MaruError as error:
            call.answer(Failed(error))
        except Exception:  # noqa: BLE001  # the client gets an answer whatever the fault is, and the others stay
            _log.exception("command.failed", name=name, session=session)
            call.answer(Failed(Internal("the server failed; its log has the details")))
        assert call.outcome is not None  # a handler answers or raises
        channel = channel_of(arguments[0]) if call.channel is None and arguments else call.channel
        self._note(name, session, identity, channel, call.outcome, time.perf_counter() - began)
        return call.outcome

    async def _handle(self, call: Call, identity: Identity | None, name: str, arguments: Sequence[object]) -> None:
        handler = self._handlers.get(name)
        if handler is None:
            raise UnknownCommand("no such command; see PROTOCOL.md for the list")
        if len(arguments) != 1:
            raise BadRequest(f"a command has one payload, got {len(arguments)}", details={"field": "payload"})
        command = handler.payload.parse(arguments[0])
        if identity is None:
            raise session_ended()
        call.identity, call.channel = identity, getattr(command, "channel", None)
        await handler.run(call, command)

    def refuse_skipped(self, session: SessionId, name: str, reply: Reply) -> None:
        """Answer a command that is not run because one before it failed with `unavailable`."""
        answer = Failed(Unavailable("skipped: an earlier command failed with 'unavailable'; retry both in order"))
        reply(answer)
        self._note(name, session, self._sessions.find(session), None, answer, 0.0)

    def _note(
        self,
        name: str,
        session: SessionId,
        identity: Identity | None,
        channel: str | None,
        answer: Answer,
        seconds: float,
    ) -> None:
        known = name in self._handlers
        outcome, offset = ("ok", answer.offset) if isinstance(answer, Done) else (answer.error.code, None)
        self._metrics.commanded(name, outcome, seconds)
        self._command_line(
            name=name if known else "(unknown)",
            session=session,
            user=None if identity is None else identity.user,
            channel=channel if known else None,
            offset=offset,
            outcome=outcome,
            ms=round(seconds * 1000, 2),
        )
