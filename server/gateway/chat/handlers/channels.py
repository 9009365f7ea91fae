"""`channel:join` and `channel:leave`."""

from server.application.channels.resuming import Joined
from server.application.channels.subscriptions import Subscriptions
from server.application.commands import Join, Leave
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire import messages
from server.wire.answers import Done
from server.wire.words import Command


def handlers(subscriptions: Subscriptions) -> Handlers:
    """The commands of membership."""

    async def join(session: Session, command: Join, reply: Reply) -> None:
        channel = ChannelName(command.channel)
        since = None if command.since is None else command.since.position

        def answer(joined: Joined) -> None:
            recovered = None if since is None else joined.reason is None
            replayed = messages.replayed(joined.position, recovered, joined.reason, joined.events, joined.mark)
            reply(Done({"channel": channel, **replayed}, joined.position.offset))

        history, told = command.history or 0, command.presence is not False
        await subscriptions.join(session.id, session.identity, channel, answer, since, history, told=told)

    async def leave(session: Session, command: Leave, reply: Reply) -> None:
        subscriptions.leave(session.id, ChannelName(command.channel))
        reply(Done({}))

    return {Command.JOIN: Handler(Join, join), Command.LEAVE: Handler(Leave, leave)}
