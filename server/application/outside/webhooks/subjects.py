"""The messages that notices are about, as they are when the notices are sent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from server.domain.events import Event, EventPublished, MessageCreated, MessageErased
from server.domain.notices import MISSED, SUBJECT, keeps_notices
from server.domain.webhooks import Endpoint
from server.ports.message_log import MessageLog

E = TypeVar("E", bound=Event)


async def with_subjects(log: MessageLog, endpoint: Endpoint, events: Sequence[E]) -> Sequence[E]:
    """Read the messages of the first notices that the endpoint wants, as many as a request may have. A message that is
    gone is told as one that was deleted. Raises `Unavailable`."""
    found, left = list(events), endpoint.batch
    for index, event in enumerate(events):
        if not left:
            break
        if isinstance(event, EventPublished) and keeps_notices(event.channel) and endpoint.wants(event):
            left -= 1
            if event.name == MISSED:
                found[index] = replace(event, data=event.data | {SUBJECT: await _subject(log, event)})
    return found


async def _subject(log: MessageLog, notice: EventPublished) -> MessageCreated | MessageErased:
    data = notice.data
    channel, epoch, offset = data["channel"], data["epoch"], data["offset"]
    replay = await log.read(channel, offset - 1, 1)
    if replay.head.epoch == epoch and replay.events:
        event = replay.events[0]
        if isinstance(event, MessageCreated | MessageErased) and event.offset == offset:
            return event
    return MessageErased(channel, epoch, offset, notice.at, data["id"], offset, edited=False)
