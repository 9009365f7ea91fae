"""`read:mark` and `receipts:read`."""

from server.application.people.commands import InChannel, MarkRead
from server.application.people.reading import Reading
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.ports.metrics import SILENT, CommandMetrics
from server.wire import reading as wire
from server.wire.answers import Done
from server.wire.words import Command


def handlers(reading: Reading, metrics: CommandMetrics = SILENT) -> Handlers:
    """The commands of reading."""

    async def mark(session: Session, command: MarkRead, reply: Reply) -> None:
        found, moved = await reading.mark(session, ChannelName(command.channel), command.offset)
        if not moved:
            metrics.swallowed(Command.MARK)
        reply(Done(wire.marked(found), found.offset))

    async def receipts(session: Session, command: InChannel, reply: Reply) -> None:
        reply(Done(wire.receipts(await reading.receipts(session, ChannelName(command.channel)))))

    return {Command.MARK: Handler(MarkRead, mark), Command.RECEIPTS: Handler(InChannel, receipts)}
