"""`auth:refresh`."""

from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Refresh
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire.answers import Done
from server.wire.words import Command, timestamp


def handlers(sessions: Sessions, subscriptions: Subscriptions) -> Handlers:
    """The commands of a session's own life."""

    async def refresh(session: Session, command: Refresh, reply: Reply) -> None:
        await sessions.refresh(session, command.token)
        subscriptions.apply_grants(session.id, session.identity)
        reply(Done({"expires_at": timestamp(session.identity.expires_at)}))

    return {Command.REFRESH: Handler(Refresh, refresh)}
