"""`channel:join` and `channel:leave`."""

from server.application.channels.subscriptions import Joined, Subscriptions
from server.application.commands import Join, Leave
from server.domain.channels import ChannelName
from server.gateway.chat.call import Call, Handler, Handlers
from server.wire import messages
from server.wire.answers import Done
from server.wire.words import Command


def handlers(subscriptions: Subscriptions) -> Handlers:
    """The commands of membership."""

    async def join(call: Call, command: Join) -> None:
        channel = ChannelName(command.channel)
        since = None if command.since is None else command.since.position

        def answer(joined: Joined) -> None:
            recovered = None if since is None else joined.reason is None
            replayed = messages.replayed(joined.position, recovered, joined.reason, joined.events)
            call.answer(Done({"channel": channel, **replayed}, joined.position.offset))

        await subscriptions.join(call.session, call.identity, channel, answer, since, command.history or 0)

    async def leave(call: Call, command: Leave) -> None:
        subscriptions.leave(call.session, ChannelName(command.channel))
        call.answer(Done({}))

    return {Command.JOIN: Handler(Join, join), Command.LEAVE: Handler(Leave, leave)}
