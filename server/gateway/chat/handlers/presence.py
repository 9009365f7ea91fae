"""`presence:read`."""

from server.application.commands import ReadPresence
from server.application.people.presence import Presences
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire.answers import Done
from server.wire.presence import roster
from server.wire.words import Command


def handlers(presences: Presences) -> Handlers:
    """The command that shows a channel's roster."""

    async def read(session: Session, command: ReadPresence, reply: Reply) -> None:
        found = await presences.read(session.id, session.identity, ChannelName(command.channel))
        reply(Done(roster(found)))  # in the same step, so that changes that are told later are beyond it

    return {Command.PRESENCE: Handler(ReadPresence, read)}
