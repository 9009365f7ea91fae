"""`auth:refresh`."""

from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Refresh
from server.application.sessions.sessions import Sessions
from server.gateway.chat.call import Call, Handler, Handlers
from server.wire.answers import Done
from server.wire.words import Command, timestamp


def handlers(sessions: Sessions, subscriptions: Subscriptions) -> Handlers:
    """The commands of a session's own life."""

    async def refresh(call: Call, command: Refresh) -> None:
        identity = await sessions.refresh(call.session, command.token)
        subscriptions.apply_grants(call.session, identity)
        call.answer(Done({"expires_at": timestamp(identity.expires_at)}))

    return {Command.REFRESH: Handler(Refresh, refresh)}
