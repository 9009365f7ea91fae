"""`channel:follow`, `channel:unfollow` and `inbox:read`."""

from server.application.people.commands import InChannel, ReadInbox
from server.application.people.following import Following
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire import reading as wire
from server.wire.answers import Done
from server.wire.words import Command


def handlers(following: Following) -> Handlers:
    """The commands of the inbox."""

    async def follow(session: Session, command: InChannel, reply: Reply) -> None:
        await following.follow(session.identity, ChannelName(command.channel))
        reply(Done({}))

    async def unfollow(session: Session, command: InChannel, reply: Reply) -> None:
        await following.unfollow(session.identity, ChannelName(command.channel))
        reply(Done({}))

    async def read(session: Session, command: ReadInbox, reply: Reply) -> None:
        reply(Done(wire.inbox(await following.inbox(session.identity, command.limit, command.before))))

    return {
        Command.FOLLOW: Handler(InChannel, follow),
        Command.UNFOLLOW: Handler(InChannel, unfollow),
        Command.INBOX: Handler(ReadInbox, read),
    }
