"""`channel:join` of a channel that is hosted, without a task: parse, read the user's mark, enter, answer."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from server.application.channels.resuming import Joined
from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Join
from server.application.people.unread import Unread
from server.application.sessions.session import Session, session_ended
from server.domain.channels import ChannelName
from server.domain.errors import Internal, MaruError
from server.domain.identity import SessionId
from server.domain.marks import Mark
from server.gateway.socketio.namespace import Reply
from server.wire import messages
from server.wire.answers import Answer, Done, Failed
from server.wire.words import Command

Note = Callable[[Session, str, str | None, Answer, float], None]
"""Counts and logs a command: its session, name, channel, answer, and how many seconds it took."""

_log = structlog.get_logger("maru.command")


class _Joining:
    """A join under way."""

    __slots__ = ("began", "channel", "outcome", "reply", "session", "told", "working")

    def __init__(self, session: Session, command: Join, reply: Reply) -> None:
        self.session = session
        self.channel = ChannelName(command.channel)
        self.told = command.presence is not False
        self.reply = reply
        self.began = time.perf_counter()
        self.outcome: Mark | Exception | None = None  # of reading the mark; None until it is read
        self.working = False  # whether a task does the join


class Joins:
    """Handles joins that ask for no events. `note` is called for each.

    Several joins of a session may wait for marks; each enters and is answered in one step, in the order in which they
    came.
    """

    def __init__(self, subscriptions: Subscriptions, note: Note) -> None:
        self._subscriptions = subscriptions
        self._note = note
        self._under_way: dict[SessionId, deque[_Joining]] = {}  # none is empty

    def under_way(self, session: Session) -> bool:
        """Say whether joins of the session wait for marks."""
        return session.id in self._under_way

    def join(self, session: Session, payload: object, reply: Reply) -> bool:
        """Begin a join, and return True; `reply` is called once, perhaps before this returns. Return False, and do
        nothing, if events are asked for, something else than the mark has to be waited for, or the join is to be
        refused: the ordinary way tells."""
        try:
            command = Join.parse(payload)
        except MaruError:
            return False
        if command.since is not None or command.history or session.ended:
            return False
        joining, unread = _Joining(session, command, reply), self._subscriptions.unread
        if unread is None:
            return self._enter(joining, None)
        if not self._subscriptions.joins_at_once(session.id, session.identity, joining.channel):
            return False
        self._under_way.setdefault(session.id, deque()).append(joining)
        unread.ask(session.identity.user, joining.channel, partial(self._read, unread, joining))
        return True

    def _read(self, unread: Unread, joining: _Joining, outcome: Mark | Exception) -> None:
        joining.outcome = outcome
        self._go_on(unread, joining.session)

    def _go_on(self, unread: Unread, session: Session) -> None:
        """Do the joins of the session whose marks are there, up to the first that has to wait."""
        joins = self._under_way[session.id]
        while joins and joins[0].outcome is not None and not joins[0].working:
            if not self._do(joins[0], joins[0].outcome):
                joins[0].working = True
                unread.spawn(self._do_by_task(unread, joins[0]))
                return
            joins.popleft()
        if not joins:
            del self._under_way[session.id]

    def _do(self, joining: _Joining, outcome: Mark | Exception) -> bool:
        """Enter and answer, or refuse. Return False, and do nothing, if something has to be waited for. Raises
        nothing: other clients wait behind this."""
        session = joining.session
        try:
            if session.ended:
                self._answer(joining, Failed(session_ended()))
                return True
            if isinstance(outcome, Mark):
                return self._enter(joining, outcome)
            self._answer(joining, _failed(joining, outcome))
        except Exception as fault:  # noqa: BLE001  # the client gets an answer whatever the fault is
            self._answer(joining, _failed(joining, fault))
        return True

    async def _do_by_task(self, unread: Unread, joining: _Joining) -> None:
        """Do a join as `channel:join` does, then those behind it."""
        session = joining.session
        try:
            answer = partial(self._joined, joining)
            await self._subscriptions.join(session.id, session.identity, joining.channel, answer, told=joining.told)
        except Exception as error:  # noqa: BLE001  # as above
            self._answer(joining, _failed(joining, error))
        self._under_way[session.id].popleft()
        self._go_on(unread, session)

    def _enter(self, joining: _Joining, mark: Mark | None) -> bool:
        session = joining.session
        joined = self._subscriptions.join_at_once(
            session.id, session.identity, joining.channel, mark, told=joining.told
        )
        if joined is not None:
            self._joined(joining, joined)
        return joined is not None

    def _joined(self, joining: _Joining, joined: Joined) -> None:
        replayed = messages.replayed(joined.position, None, None, (), joined.mark)
        self._answer(joining, Done({"channel": joining.channel, **replayed}, joined.position.offset))

    def _answer(self, joining: _Joining, answer: Answer) -> None:
        joining.reply(answer)
        seconds = time.perf_counter() - joining.began
        self._note(joining.session, Command.JOIN, joining.channel, answer, seconds)


def _failed(joining: _Joining, error: Exception) -> Failed:
    if isinstance(error, MaruError):
        return Failed(error)
    _log.error("command.failed", name=Command.JOIN, session=joining.session.id, exc_info=error)
    return Failed(Internal("the server failed; its log has the details"))
