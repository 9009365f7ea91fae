"""`message:send`, `message:edit`, `message:delete` and `history:read`."""

from server.application.commands import Delete, Edit, ReadHistory, Send
from server.application.messages.history import History
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended
from server.domain.events import MessageCreated, MessageEdited
from server.gateway.chat.call import Call, Handler, Handlers
from server.wire import messages
from server.wire.answers import Done
from server.wire.words import Command, Json


def handlers(publisher: Publisher, history: History) -> Handlers:
    """The commands that write to the log and read it."""

    async def send(call: Call, command: Send) -> None:
        appended = await publisher.send(call.identity, command)
        fields = _written(appended)
        fields["duplicate"] = appended.duplicate
        call.answer(Done(fields, appended.event.offset))

    async def edit(call: Call, command: Edit) -> None:
        appended = await publisher.edit(call.identity, command)
        call.answer(Done(_written(appended), appended.event.offset))

    async def delete(call: Call, command: Delete) -> None:
        event = (await publisher.delete(call.identity, command)).event
        call.answer(Done({"epoch": event.epoch, "offset": event.offset}, event.offset))

    async def read(call: Call, command: ReadHistory) -> None:
        page = await history.read(call.identity, command)
        call.answer(Done(messages.page(page), page.head.offset))

    return {
        Command.SEND: Handler(Send, send),
        Command.EDIT: Handler(Edit, edit),
        Command.DELETE: Handler(Delete, delete),
        Command.HISTORY: Handler(ReadHistory, read),
    }


def _written(appended: Appended) -> Json:
    """The fields that the acks of `message:send` and `message:edit` have in common."""
    event = appended.event
    assert isinstance(event, MessageCreated | MessageEdited)  # neither command deletes
    return {"message": messages.message(event.message), "epoch": event.epoch, "offset": event.offset}
