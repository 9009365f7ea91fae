"""Operations on events of applications: a backend publishes in the name of any user."""

from typing import Annotated, Any

from pydantic import Field

from server.api.backends.fields import AuthorField
from server.api.backends.messages import REPLAYED, InChannel
from server.api.backends.table import Answer, Body, Call, Operation, Reply
from server.application.people.payloads import EVENT_NAME, AnyJson, EventContent, EventName, Publish
from server.application.people.publishing import AppEvents
from server.domain.backends import Scope, on_behalf_of
from server.wire.words import Operation as Name


class NewEvent(Body, EventContent):
    """An event of an application."""

    author: AuthorField
    name: Annotated[
        EventName,
        Field(description="What happened.", examples=["order.paid"], json_schema_extra={"pattern": EVENT_NAME}),
    ]
    data: Annotated[AnyJson, Field(description="Any JSON value, at most 8 KiB, 32 levels deep.")]
    log: Annotated[bool, Field(description="Whether it is kept; else it is told to those that are there.")] = True


class Published(Answer):
    """The position of an event that is in the log. `duplicate`: it was there already, under the same
    `Idempotency-Key`. An event that is not kept has none of these."""

    epoch: str | None = None
    offset: int | None = None
    duplicate: bool | None = None


def operations(events: AppEvents) -> list[Operation[Any, Any]]:
    """Return the operations. `events` asks for no user's rates."""

    async def publish(call: Call[InChannel, NewEvent]) -> Reply:
        body, channel = call.body, call.params.channel
        call.target.update(user=body.author.id, name=body.name)
        command = Publish.model_construct(
            channel=channel, name=body.name, data=body.data, key=call.idempotency_key, log=body.log
        )
        recorded = await events.publish(on_behalf_of(body.author.author), command)
        if recorded is None:
            return Reply({})
        event = recorded.event
        answer = {"epoch": event.epoch, "offset": event.offset, "duplicate": recorded.duplicate}
        return Reply(answer, REPLAYED if recorded.duplicate else {})

    return [
        Operation(
            id=Name.PUBLISH_EVENT,
            summary="Publish an event of an application in a channel.",
            method="POST",
            path="/channels/{channel}/events",
            handle=publish,
            scope=Scope.PUBLISH,
            params=InChannel,
            body=NewEvent,
            answer=Published,
            idempotent=True,
        )
    ]
