"""Events of applications in the log's file."""

import asyncio

from server.adapters.codec import DecodeError, decode_event
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.reader import split_lines
from server.adapters.sqlite.reader_threads import Row
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.events import EventPublished
from server.domain.limits import MAX_OFFSET
from server.domain.messages import Position
from server.ports.records import Recorded, RecordPage, Records

_PAGE = """
SELECT c.epoch, c.head, (
    SELECT CAST(group_concat(payload, char(10)) AS BLOB) FROM (
        SELECT e.payload FROM records r CROSS JOIN events e
        ON e.channel_id = r.channel_id AND e.offset = r.offset AND e.message_id IS NULL
        WHERE r.channel_id = c.id AND r.offset > max(?2, c.floor) AND r.offset < ?3 {{named}}
        ORDER BY r.offset {direction} LIMIT ?4
    )
) FROM channels c WHERE c.name = ?1
"""
_NEWEST_FIRST = _PAGE.format(direction="DESC")
_OLDEST_FIRST = _PAGE.format(direction="ASC")


class SqliteRecords(Records):
    """The events of applications in a log."""

    def __init__(self, log: SqliteMessageLog) -> None:
        self._log = log

    def record(self, record: Record) -> asyncio.Future[Recorded]:
        return self._log.write(record)

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        reader = self._log.reader
        forward = after is not None and before is None
        bounds = (0 if after is None else after, MAX_OFFSET + 1 if before is None else before)

        def shape(row: Row | None) -> RecordPage:
            if row is None:
                return RecordPage([], reader.start(channel), more=False)
            epoch, head, lines = row
            found = split_lines(lines)
            events = [_published(line) for line in found[:limit]]
            if not forward:
                events.reverse()
            return RecordPage(events, Position(epoch, head), more=len(found) > limit)

        sql = (_OLDEST_FIRST if forward else _NEWEST_FIRST).format(named="" if name is None else "AND r.name = ?5")
        arguments = (channel, *bounds, limit + 1) if name is None else (channel, *bounds, limit + 1, name)
        return await reader.query(sql, arguments, shape)


def _published(line: bytes) -> EventPublished:
    event = decode_event(line)
    if not isinstance(event, EventPublished):
        raise DecodeError(f"expected an event of an application, found {type(event).__name__}")
    return event
