"""Events of applications in Redis: a kind of draft of the script that appends (record.lua)."""

import asyncio

from server.adapters.codec import DecodeError
from server.adapters.redis.entries import decode_entry
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.scripts import Script
from server.adapters.redis.states import there
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.events import EventPublished
from server.ports.records import Recorded, RecordPage, Records


class RedisRecords(Records):
    """The events of applications in a log."""

    def __init__(self, log: RedisMessageLog) -> None:
        self._log = log
        self._page = Script(log.reads, "channel", "losses", "records")

    def record(self, record: Record) -> asyncio.Future[Recorded]:
        return self._log.change(record)

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        """Call a script."""
        bounds = ("" if before is None else before, "" if after is None else after)
        arguments = (*self._log.opening(channel), name or "", *bounds, limit)
        epoch, head, at, more, found = await self._page(self._log.keys(channel), *arguments)
        position = self._log.head(channel, epoch, head, at)
        with self._log.readable(channel):
            events = [_published(channel, position.epoch, int(offset), there(packed)) for offset, packed in found]
        return RecordPage(events, position, more == b"1")


def _published(channel: ChannelName, epoch: str, offset: int, packed: bytes) -> EventPublished:
    event = decode_entry(channel, epoch, offset, packed)
    if not isinstance(event, EventPublished):
        raise DecodeError("the index of the events of applications names another event")
    return event
