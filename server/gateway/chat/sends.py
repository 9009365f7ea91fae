"""`message:send` without a task, a coroutine or a future: parse, submit, and answer when the log calls back."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from server.application.commands import Send
from server.application.messages.publisher import Publisher
from server.application.sessions.session import Session
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Sender
from server.domain.errors import Internal, MaruError
from server.gateway.socketio.namespace import SendReply
from server.wire.answers import Failed
from server.wire.messages import sent
from server.wire.words import Command

_log = structlog.get_logger("maru.command")

Note = Callable[[Session, str, str, int | None, float], None]
"""Counts and logs a send: its session, channel, outcome, offset, and how many seconds it took."""


class NoteRefusal(Protocol):
    """Takes note of a send that was refused, `elapsed` seconds after it was begun."""

    def __call__(self, session: Session, *, error: MaruError, elapsed: float) -> None: ...


class Sends:
    """Begins sends in their ordinary form. `hosts` says whether a channel's messages are delivered here; `note` is
    called for each send that was begun, and `note_refusal` for each of these that failed."""

    def __init__(
        self,
        publisher: Publisher,
        hosts: Callable[[ChannelName], bool],
        note: Note,
        note_refusal: NoteRefusal,
    ) -> None:
        self._publisher = publisher
        self.hosts = hosts
        self.note = note
        self.note_refusal = note_refusal

    def submit(self, session: Session, payload: object, sender: Sender, reply: SendReply) -> bool:
        """Begin a send, and return True; `reply` is called once, perhaps before this returns. Return False, and do
        nothing, if it is to be refused, since the refusal must wait for the commands before it; if a backend is asked
        before; or if many messages wait: then each client has one under way."""
        if session.ended or self._publisher.crowded:
            return False
        try:
            command = Send.parse(payload)
            asks = self._publisher.asks
            if asks is not None and asks(ChannelName(command.channel)):
                return False
            sending = _Sending(self, session, command.channel, reply)
            self._publisher.submit(session.identity, command, sender, sending.done)
        except MaruError:
            return False
        return True


class _Sending:
    """A send under way."""

    __slots__ = ("_began", "_channel", "_reply", "_sends", "_session")

    def __init__(self, sends: Sends, session: Session, channel: str, reply: SendReply) -> None:
        self._sends = sends
        self._session = session
        self._channel = channel
        self._reply = reply
        self._began = time.perf_counter()

    def done(self, outcome: Appended | Exception) -> None:
        """Answer. Raises nothing: the log calls this for many clients in a row."""
        try:
            answer, code, offset = self._answer(outcome)
            self._reply(answer)
            seconds = time.perf_counter() - self._began
            self._sends.note(self._session, self._channel, code, offset, seconds)
            if isinstance(answer, Failed):
                self._sends.note_refusal(self._session, error=answer.error, elapsed=seconds)
        except Exception:  # noqa: BLE001  # a fault of ours must not keep the answers from the other clients
            _log.exception("command.failed", name=Command.SEND, session=self._session.id)

    def _answer(self, outcome: Appended | Exception) -> tuple[bytes | Failed, str, int | None]:
        """Return the answer, its code, and the offset for the log line."""
        if isinstance(outcome, Appended):
            try:
                event = outcome.event
                return sent(outcome, delivered=self._sends.hosts(event.channel)), "ok", event.offset
            except Exception as fault:  # noqa: BLE001  # the client gets an answer whatever the fault is
                outcome = fault
        if not isinstance(outcome, MaruError):
            _log.error("command.failed", name=Command.SEND, session=self._session.id, exc_info=outcome)
            outcome = Internal("the server failed; its log has the details")
        return Failed(outcome), outcome.code, None
