"""`channel:join` of a channel that is hosted, without a task: parse, enter, answer."""

import time

from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Join
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.gateway.chat.sends import Note
from server.gateway.socketio.namespace import Reply
from server.wire import messages
from server.wire.answers import Done


class Joins:
    """Handles joins that ask for no events and wait for nothing. `note` is called for each."""

    def __init__(self, subscriptions: Subscriptions, note: Note) -> None:
        self._subscriptions = subscriptions
        self._note = note

    def join(self, session: Session, payload: object, reply: Reply) -> bool:
        """Enter a channel and answer, and return True. Return False, and do nothing, if events are asked for, something
        has to be waited for, or the join is to be refused: the ordinary way tells."""
        began = time.perf_counter()
        try:
            command = Join.parse(payload)
        except MaruError:
            return False
        if command.since is not None or command.history or session.ended:
            return False
        joined = self._subscriptions.join_at_once(
            session.id, session.identity, ChannelName(command.channel), told=command.presence is not False
        )
        if joined is None:
            return False
        position = joined.position
        reply(Done({"channel": command.channel, **messages.replayed(position, None, None, ())}, position.offset))
        self._note(session, command.channel, "ok", position.offset, time.perf_counter() - began)
        return True
