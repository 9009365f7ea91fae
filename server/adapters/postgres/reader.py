"""Reading the log: each read is a single statement, so it sees a single moment."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from asyncpg import Connection, Record

from server.adapters.codec import DecodeError, state_of
from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.database import Database
from server.adapters.postgres.deadline import deadline
from server.adapters.postgres.placing import placed
from server.adapters.postgres.tallies import reacting
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unavailable
from server.domain.events import EventPublished, MessageDeleted, state_after
from server.domain.limits import MAX_OFFSET
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.ports.message_log import Page, Replay
from server.ports.records import RecordPage

WAITING_LIMIT = 2_000
"""Reads that wait or run. Over this number, `Overloaded`: the clients of a storm of joins come back with jitter."""

AT_ONCE = 4
"""Reads that run at once: the rest of a replica's connections is for writes, however many read."""

# An edit of a deleted message is erased in steps (states.py).
_SHOWN = """
CASE WHEN e.edit_of IS NULL THEN e.payload ELSE coalesce((
    SELECT x.payload FROM maru.erasing x WHERE x.channel_id = e.channel_id AND x.created = e.edit_of
), e.payload) END
"""

STATE = """
e."offset" AS created, e.at AS created_at, e.payload AS creation, s."offset" AS place, s.at, s.payload, t.state
"""
JOIN_STATE = """
JOIN maru.events s ON s.channel_id = e.channel_id AND s."offset" = e.state_offset
LEFT JOIN maru.reacted t ON t.channel_id = e.channel_id AND t.created = e."offset"
"""
# There is a row with the life also for a channel that is unknown.
_CHANNEL = """
SELECT maru.life() AS life, c.head, c.floor, c.losses, x.*
FROM (SELECT) always LEFT JOIN maru.channels c ON c.name = $1 LEFT JOIN LATERAL ({rows}) x ON true
"""


def _of_channel(rows: str) -> str:
    pieces = rows.replace("{state}", STATE).replace("{join state}", JOIN_STATE).replace("{shown}", _SHOWN)
    return _CHANNEL.replace("{rows}", pieces)


_READ = _of_channel("""
    SELECT array_agg(p.payload ORDER BY p."offset") AS payloads, array_agg(p.at ORDER BY p."offset") AS ats FROM (
        SELECT e."offset", e.at, {shown} AS payload FROM maru.events e WHERE e.channel_id = c.id
        AND $2 >= c.floor AND e."offset" > $2 AND e."offset" <= $2 + $3
    ) p
""")
_MESSAGE = _of_channel("""
    SELECT {state} FROM maru.events e {join state}
    WHERE e.channel_id = c.id AND e.message_id = $2 AND e."offset" > c.floor
""")
_HISTORY = _of_channel("""
    SELECT {state} FROM maru.events e {join state}
    WHERE e.channel_id = c.id AND e.message_id IS NOT NULL AND e."offset" > greatest($2, c.floor) AND e."offset" < $3
    ORDER BY e."offset" {direction} LIMIT $4
""")
_RECORDS = _of_channel("""
    SELECT e."offset" AS place, e.at, e.payload FROM maru.records r
    JOIN maru.events e ON e.channel_id = r.channel_id AND e."offset" = r."offset"
    WHERE r.channel_id = c.id AND r."offset" > greatest($2, c.floor) AND r."offset" < $3
    AND ($5::bytea IS NULL OR r.name = $5) ORDER BY r."offset" {direction} LIMIT $4
""")
_HEADS = """
SELECT maru.life() AS life, c.name, c.head, c.losses
FROM (SELECT) always LEFT JOIN maru.channels c ON c.name = ANY ($1)
"""

_T = TypeVar("_T")

_log = structlog.get_logger("maru.log")


class Reader:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = asyncio.Semaphore(AT_ONCE)
        self._reading = 0  # reads that wait or run
        self._down = False  # the last read could not be decoded, and that was logged

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """See the port's `read`."""
        after = min(after, MAX_OFFSET)

        def replay(rows: Sequence[Record], key: bytes) -> Replay:
            row = rows[0]
            head = head_of(row, key, channel)
            if not row["payloads"]:
                return Replay(row["floor"] or 0, head, [])
            found = enumerate(zip(row["payloads"], row["ats"], strict=True), start=after + 1)
            events = [placed(payload, head.epoch, offset, at) for offset, (payload, at) in found]
            if len(events) != min(limit, head.offset - after):
                raise DecodeError("an event is missing")
            return Replay(row["floor"], head, events)

        return await self.query(replay, _READ, channel, after, limit)

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position]:
        """See the port's `heads`."""

        def heads(rows: Sequence[Record], key: bytes) -> Mapping[ChannelName, Position]:
            known = {row["name"]: row for row in rows if row["name"] is not None}
            return {
                channel: head_of(known[channel], key, channel) if channel in known else start(key, channel)
                for channel in channels
            }

        return await self.query(heads, _HEADS, list(channels))

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """See the port's `message`."""

        def message(rows: Sequence[Record], key: bytes) -> Message | Tombstone | None:
            row = rows[0]
            return None if row["created"] is None else message_of(row, head_of(row, key, channel).epoch)

        return await self.query(message, _MESSAGE, channel, id)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """See the port's `history`."""
        forward = after is not None and before is None

        def page(rows: Sequence[Record], key: bytes) -> Page:
            head = head_of(rows[0], key, channel)
            found = [message_of(row, head.epoch) for row in rows[:limit] if row["created"] is not None]
            return Page(found if forward else found[::-1], head, more=len(rows) > limit)

        return await self.query(page, _ordered(_HISTORY, forward), channel, *_bounds(before, after), limit + 1)

    async def records(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        """See the `page` of the port of records."""
        forward = after is not None and before is None

        def page(rows: Sequence[Record], key: bytes) -> RecordPage:
            head = head_of(rows[0], key, channel)
            found = [_published(row, head.epoch) for row in rows[:limit] if row["place"] is not None]
            return RecordPage(found if forward else found[::-1], head, more=len(rows) > limit)

        words = (channel, *_bounds(before, after), limit + 1, None if name is None else name.encode())
        return await self.query(page, _ordered(_RECORDS, forward), *words)

    async def query(
        self, shape: Callable[[Sequence[Record], bytes], _T], sql: str, *arguments: object, reads: bool = True
    ) -> _T:
        """Run a query whose rows have the life; return `shape` of them. If it only `reads`, it is run once more after
        its connection was cut. Raises `Unavailable`, `Overloaded`."""
        if self._reading >= WAITING_LIMIT:
            raise Overloaded("too many reads wait for the message log")
        self._reading += 1
        try:
            async with deadline(), self._room:
                result = await self._database.run(self._work(shape, sql, arguments), reads=reads)
        except DecodeError as error:
            if not self._down:
                _log.error("message_log.unreadable", channel=str(arguments[0]), error=str(error))
            self._down = True
            raise Unavailable("the message log can't be read") from error
        finally:
            self._reading -= 1
        self._down = False
        return result

    def _work(
        self, shape: Callable[[Sequence[Record], bytes], _T], sql: str, arguments: Sequence[object]
    ) -> Callable[[Connection], Awaitable[_T]]:
        database = self._database

        async def work(connection: Connection) -> _T:
            rows = await connection.fetch(sql, *arguments)
            database.check(rows[0]["life"])
            assert database.identity is not None
            return shape(rows, database.identity.key)

        return work


def start(key: bytes, channel: ChannelName) -> Position:
    """Return the head of a channel that has had no event."""
    return Position(epoch_of(key, channel, 0), 0)


def head_of(row: Record, key: bytes, channel: ChannelName) -> Position:
    """Return the head that a row tells of the channel."""
    if row["head"] is None:
        return start(key, channel)
    return Position(epoch_of(key, channel, row["losses"]), row["head"])


def _bounds(before: int | None, after: int | None) -> tuple[int, int]:
    return 0 if after is None else min(after, MAX_OFFSET), MAX_OFFSET + 1 if before is None else before


def _ordered(sql: str, forward: bool) -> str:
    return sql.replace("{direction}", "ASC" if forward else "DESC")


def message_of(row: Record, epoch: str) -> Message | Tombstone:
    """Return the message of a row that has a `STATE`."""
    last = state_of(placed(row["payload"], epoch, row["place"], row["at"]))
    creation = None
    if isinstance(last, MessageDeleted):
        creation = placed(row["creation"], epoch, row["created"], row["created_at"])
    return reacting(state_after(last, row["created"], creation), row["state"])


def _published(row: Record, epoch: str) -> EventPublished:
    event = placed(row["payload"], epoch, row["place"], row["at"])
    if not isinstance(event, EventPublished):
        raise DecodeError(f"expected an event of an application, found {type(event).__name__}")
    return event
