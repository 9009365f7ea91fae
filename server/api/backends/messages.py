"""Operations on messages: a backend writes in the name of any user, and edits and deletes as a moderator does."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from server.api.backends.fields import AuthorField, Channel, MessageKey, User, without_controls
from server.api.backends.shapes import MessageState
from server.api.backends.table import Answer, Body, Call, Operation, Params, Reply
from server.application.commands import Content, Delete, Edit, Send
from server.application.fields import Id, Text, named
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended
from server.domain.backends import BACKEND, Scope, on_behalf_of
from server.domain.errors import Conflict, NotFound
from server.domain.limits import MAX_TEXT_CHARS
from server.domain.messages import MAX_MENTIONS
from server.wire import messages
from server.wire.words import Json
from server.wire.words import Operation as Name

REPLAYED = {"Idempotency-Replayed": "true"}
"""The header of an answer that tells of an earlier message."""

MessageText = Annotated[
    Text, WithJsonSchema(without_controls(MAX_TEXT_CHARS)), Field(description="Without control characters.")
]


class InChannel(Params):
    """A path that names a channel."""

    channel: Channel


class OfMessage(InChannel):
    """A path that names a message."""

    id: MessageKey


class MessageContent(Body, Content):
    """A text, and data of the application (a JSON object, at most 8 KiB)."""

    text: MessageText


class NewMessage(MessageContent):
    """A message to be written."""

    author: AuthorField
    reply_to: Annotated[Id, Field(description="The id of the message that this one answers.")] | None = None
    mentions: Annotated[list[User], AfterValidator(named)] = Field(
        default=[],
        max_length=MAX_MENTIONS,
        description="The ids of users whom the message is for in particular; or `*` alone: everybody.",
    )
    mark_read: bool = Field(default=True, description="Whether the author has read the channel up to the message.")


class Changed(Answer):
    """A message as it is in the log now, and the position of the event that made it so."""

    message: MessageState
    epoch: str
    offset: int


class Written(Changed):
    """A message that is in the log. `duplicate`: it was there already, under the same `Idempotency-Key`."""

    duplicate: bool


def operations(publisher: Publisher) -> list[Operation[Any, Any]]:
    """Return the operations. `publisher` asks for no user's rates."""

    async def post(call: Call[InChannel, NewMessage]) -> Reply:
        command = as_send(call.body, call.params.channel, call.idempotency_key)
        call.target["user"] = call.body.author.id
        appended = await publisher.send(on_behalf_of(call.body.author.author), command, marks=call.body.mark_read)
        call.target["id"] = messages.subject(appended.event)["id"]
        answer = _changed(appended) | {"duplicate": appended.duplicate}
        return Reply(answer, REPLAYED if appended.duplicate else {})

    async def edit(call: Call[OfMessage, MessageContent]) -> Reply:
        named, body = call.params, call.body
        given = {"channel", "id", *body.model_fields_set}
        command = Edit.model_construct(given, channel=named.channel, id=named.id, text=body.text, data=body.data)
        return Reply(_changed(await publisher.edit(on_behalf_of(BACKEND), command)))

    async def delete(call: Call[OfMessage, Any]) -> Reply:
        await publisher.delete(on_behalf_of(BACKEND), Delete.model_construct(**call.params.model_dump()))
        return Reply()

    of_channel, of_message = "/channels/{channel}/messages", "/channels/{channel}/messages/{id}"
    return [
        Operation(
            id=Name.POST_MESSAGE,
            summary="Write a message to a channel.",
            method="POST",
            path=of_channel,
            handle=post,
            scope=Scope.PUBLISH,
            params=InChannel,
            body=NewMessage,
            answer=Written,
            idempotent=True,
        ),
        Operation(
            id=Name.EDIT_MESSAGE,
            summary="Give a message a new text. Without `data` the old data stays, `null` removes it.",
            method="PATCH",
            path=of_message,
            handle=edit,
            scope=Scope.PUBLISH,
            params=OfMessage,
            body=MessageContent,
            answer=Changed,
            codes=(NotFound, Conflict),
        ),
        Operation(
            id=Name.DELETE_MESSAGE,
            summary="Delete a message. A deleted message stays deleted.",
            method="DELETE",
            path=of_message,
            handle=delete,
            scope=Scope.PUBLISH,
            params=OfMessage,
            codes=(NotFound,),
        ),
    ]


def as_send(body: NewMessage, channel: str, key: str | None) -> Send:
    """Return the message as a command. Its parts have been checked."""
    mentions = body.mentions or None
    return Send.model_construct(
        channel=channel, text=body.text, data=body.data, reply_to=body.reply_to, key=key, mentions=mentions
    )


def _changed(appended: Appended) -> Json:
    event = appended.event
    return {"message": messages.subject(event), "epoch": event.epoch, "offset": event.offset}
