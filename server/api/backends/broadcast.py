"""One message to many channels, with a result for each."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from server.api.backends.messages import REPLAYED, NewMessage, as_send
from server.api.backends.shapes import ErrorState
from server.api.backends.table import Answer, Call, NoParams, Operation, Reply
from server.application.commands import Send
from server.application.messages.broadcasting import Broadcaster, Outcome
from server.domain.appending import Appended
from server.domain.backends import Scope, on_behalf_of
from server.domain.channels import channel_name
from server.domain.errors import BadRequest, MaruError
from server.wire import errors, messages
from server.wire.words import Json
from server.wire.words import Operation as Name

MAX_CHANNELS = 1_000
"""Channels of a broadcast."""

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of a broadcast's body: a thousand names and a message fit."""


class NewBroadcast(NewMessage):
    """A message to be written to each of the channels."""

    channels: Annotated[
        list[Annotated[str, Field(json_schema_extra={"format": "channel-name"})]],
        Field(
            min_length=1,
            max_length=MAX_CHANNELS,
            description="Names of channels. A name that is none is a failed result.",
        ),
    ]


class ChannelResult(Answer):
    """What became of the message in one channel: with `ok`, its id and position; else, the error."""

    channel: str
    ok: bool
    id: str | None = None
    epoch: str | None = None
    offset: int | None = None
    duplicate: bool | None = None
    error: ErrorState | None = None


class BroadcastAnswer(Answer):
    """A result for each channel, in the order of the request, and how many failed."""

    results: list[ChannelResult]
    failed: int


def operations(broadcaster: Broadcaster) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def send(call: Call[NoParams, NewBroadcast]) -> Reply:
        body = call.body
        call.target.update(user=body.author.id, channels=len(body.channels))
        sends = [_send(body, channel, call.idempotency_key) for channel in body.channels]
        outcomes = await broadcaster.send(on_behalf_of(body.author.author), sends, marks=body.mark_read)
        failures = [outcome for outcome in outcomes if isinstance(outcome, MaruError)]
        call.target["failed"] = len(failures)
        if len(failures) == len(outcomes):
            _raise_common(failures)
        written = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
        replayed = bool(written) and all(outcome.duplicate for outcome in written)
        results = [_result(*each) for each in zip(body.channels, outcomes, strict=True)]
        return Reply({"results": results, "failed": len(failures)}, REPLAYED if replayed else {})

    return [
        Operation(
            id=Name.BROADCAST,
            summary="Write a message to each of up to 1,000 channels.",
            method="POST",
            path="/broadcast",
            handle=send,
            scope=Scope.PUBLISH,
            body=NewBroadcast,
            answer=BroadcastAnswer,
            max_body=MAX_BODY_BYTES,
            idempotent=True,
        )
    ]


def _send(body: NewBroadcast, channel: str, key: str | None) -> Send | MaruError:
    try:
        return as_send(body, channel_name(channel), key)
    except BadRequest as error:
        return error


def _raise_common(failures: Sequence[MaruError]) -> None:
    """Raise the error of all channels if it is the same, and may pass: then the request is to be repeated as it is."""
    last = max(failures, key=lambda error: error.retry_after_ms or 0)
    if last.retryable and all(error.code == last.code for error in failures):
        raise last


def _result(channel: str, outcome: Outcome) -> Json:
    if isinstance(outcome, MaruError):
        return {"channel": channel, "ok": False, "error": errors.error(outcome)}
    event = outcome.event
    return {
        "channel": channel,
        "ok": True,
        "id": messages.subject(event)["id"],
        "epoch": event.epoch,
        "offset": event.offset,
        "duplicate": outcome.duplicate,
    }
