"""Operations on messages: a backend writes in the name of any user."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from server.api.backends.fields import AuthorField, Channel, User, without_controls
from server.api.backends.table import Answer, Body, Call, Operation, Params, Reply
from server.application.commands import Content, Id, Send, Text
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended
from server.domain.backends import Scope, on_behalf_of
from server.domain.limits import MAX_TEXT_CHARS
from server.wire import messages
from server.wire.words import Json
from server.wire.words import Operation as Name

MAX_MENTIONS = 50
"""Users that a message may mention."""

REPLAYED = {"Idempotency-Replayed": "true"}
"""The header of an answer that tells of an earlier message."""


class InChannel(Params):
    """A path that names a channel."""

    channel: Channel


class NewMessage(Body, Content):
    """A message to be written."""

    author: AuthorField
    text: Annotated[Text, WithJsonSchema(without_controls(MAX_TEXT_CHARS))]
    reply_to: Annotated[Id, Field(description="The id of the message that this one answers.")] | None = None
    mentions: list[User] = Field(default=[], max_length=MAX_MENTIONS, description="Without effect in this version.")
    mark_read: Annotated[bool, Field(description="Without effect in this version.")] = False


class Written(Answer):
    """A message that is in the log. `duplicate`: it was there already, by the same `Idempotency-Key`."""

    message: dict[str, Any]
    epoch: str
    offset: int
    duplicate: bool


def operations(publisher: Publisher) -> list[Operation[Any, Any]]:
    """Return the operations. `publisher` asks for no token's rates."""

    async def post(call: Call[InChannel, NewMessage]) -> Reply:
        command = as_send(call.body, call.params.channel, call.idempotency_key)
        appended = await publisher.send(on_behalf_of(call.body.author.author), command)
        call.target.update(id=messages.subject(appended.event)["id"], user=call.body.author.id)
        return Reply(_written(appended), REPLAYED if appended.duplicate else {})

    return [
        Operation(
            Name.POST_MESSAGE,
            "Write a message to a channel.",
            "POST",
            "/channels/{channel}/messages",
            post,
            Scope.PUBLISH,
            InChannel,
            NewMessage,
            Written,
            idempotent=True,
        )
    ]


def as_send(body: NewMessage, channel: str, key: str | None) -> Send:
    """Return the message as a command. Its parts have been checked."""
    return Send.model_construct(channel=channel, text=body.text, data=body.data, reply_to=body.reply_to, key=key)


def _written(appended: Appended) -> Json:
    event = appended.event
    return {
        "message": messages.subject(event),
        "epoch": event.epoch,
        "offset": event.offset,
        "duplicate": appended.duplicate,
    }
