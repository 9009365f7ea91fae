"""`message:send`, `message:edit`, `message:delete` and `history:read`."""

from server.application.commands import Delete, Edit, ReadHistory, Send
from server.application.messages.history import History
from server.application.messages.publisher import Publisher
from server.application.sessions.session import Session
from server.domain.appending import Appended
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire import messages
from server.wire.answers import Done
from server.wire.words import Command, Json


def handlers(publisher: Publisher, history: History) -> Handlers:
    """The commands that write to the log and read it."""

    async def send(session: Session, command: Send, reply: Reply) -> None:
        reply(sent(await publisher.send(session.identity, command, session)))

    async def edit(session: Session, command: Edit, reply: Reply) -> None:
        appended = await publisher.edit(session.identity, command, session)
        reply(Done(_written(appended), appended.event.offset))

    async def delete(session: Session, command: Delete, reply: Reply) -> None:
        event = (await publisher.delete(session.identity, command)).event
        reply(Done({"epoch": event.epoch, "offset": event.offset}, event.offset))

    async def read(session: Session, command: ReadHistory, reply: Reply) -> None:
        page = await history.read(session.identity, command)
        reply(Done(messages.page(page), page.head.offset))

    return {
        Command.SEND: Handler(Send, send),
        Command.EDIT: Handler(Edit, edit),
        Command.DELETE: Handler(Delete, delete),
        Command.HISTORY: Handler(ReadHistory, read),
    }


def sent(appended: Appended) -> Done:
    """The answer to a `message:send`."""
    fields = _written(appended)
    fields["duplicate"] = appended.duplicate
    return Done(fields, appended.event.offset)


def _written(appended: Appended) -> Json:
    """The fields that the acks of `message:send` and `message:edit` have in common."""
    event = appended.event
    return {"message": messages.subject(event), "epoch": event.epoch, "offset": event.offset}
