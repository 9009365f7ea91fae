"""Events of applications in memory."""

from bisect import bisect_left, bisect_right
from dataclasses import replace

from server.adapters.channel_state import Channel
from server.adapters.memory.keys import Keyed
from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.appending import published
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.events import EventPublished
from server.domain.messages import Position
from server.ports.records import Recorded, RecordPage, Records


class MemoryRecords(Records):
    """The events of applications in a log."""

    def __init__(self, log: MemoryMessageLog) -> None:
        self._log = log

    async def record(self, record: Record) -> Recorded:
        channel = self._log.channel(record.channel)
        if first := self._first(channel, record):
            return Recorded(first, duplicate=True)
        self._log.take(record.channel)
        event = published(record, channel.next)
        self._log.write(channel, event)
        if record.key is not None:
            key = (record.channel, record.author.id, record.key)
            self._log.record_keys.put(key, Keyed(event.offset, None, record.at))
        return Recorded(event, duplicate=False)

    def _first(self, channel: Channel, record: Record) -> EventPublished | None:
        """Return the event of the first record with the key, or None. The content of the repeat stands in for that of
        an event that the log has dropped."""
        if record.key is None:
            return None
        keyed = self._log.record_keys.find((record.channel, record.author.id, record.key))
        if keyed is None:
            return None
        if keyed.offset > channel.floor:
            return _published(channel, keyed.offset)
        return published(replace(record, at=keyed.at), Position(channel.epoch, keyed.offset))

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        log = self._log.channel(channel)
        offsets = log.records.get(name, ())
        start = 0 if after is None else bisect_right(offsets, after)
        stop = len(offsets) if before is None else bisect_left(offsets, before)
        between = offsets[start:stop]
        forward = after is not None and before is None
        page = between[:limit] if forward else between[max(0, len(between) - limit) :]
        return RecordPage([_published(log, offset) for offset in page], log.head, more=len(between) > limit)


def _published(channel: Channel, offset: int) -> EventPublished:
    event = channel.at(offset)
    assert isinstance(event, EventPublished)
    return event
