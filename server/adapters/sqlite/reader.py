"""Reading beside the writer: a few threads. Each read is a single statement, so it sees a single moment.

A read gathers its rows into a single value within SQLite: every row that passes to Python costs a hand-over of the
interpreter's lock, for which the event loop competes.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import orjson
import structlog

from server.adapters.codec import DecodeError, decode_event, state_of
from server.adapters.epochs import channel_epoch
from server.adapters.sqlite.database import DEADLINE_S
from server.adapters.sqlite.erasing import SHOWN
from server.adapters.sqlite.events import STATE
from server.adapters.sqlite.opened_file import FileLost, OpenedFile
from server.adapters.sqlite.reader_threads import Query, ReaderThreads, Row, closed
from server.adapters.sqlite.tallies import reacting
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unavailable
from server.domain.events import MessageDeleted, state_after
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.ports.message_log import Page, Replay

WAITING_LIMIT = 2_000
"""Reads that wait or run. Over this number, `Overloaded`: the clients of a storm of joins come back with jitter."""

_T = TypeVar("_T")

_log = structlog.get_logger("maru.log")

_EVENTS = """
(
    SELECT CAST(group_concat(payload, char(10)) AS BLOB) FROM (
        SELECT {payload} AS payload FROM events e WHERE e.channel_id = c.id AND e.message_id {kind}
        AND ?2 >= c.floor AND e.offset > ?2 AND e.offset <= ?2 + ?3 ORDER BY e.offset
    )
)
"""
# Creations and other events stand in two indexes: to merge them here costs more than to read them.
_REPLAY = """
SELECT c.epoch, c.head, c.floor, {creations}, {others} FROM channels c WHERE c.name = ?1
"""
_READ = _REPLAY.format(
    creations=_EVENTS.format(payload="e.payload", kind="IS NOT NULL"),
    others=_EVENTS.format(payload=SHOWN, kind="IS NULL"),
)

_HEADS = """
SELECT json_group_array(json_array(c.name, c.epoch, c.head)) FROM json_each(?1) n JOIN channels c ON c.name = n.value
"""

_MESSAGE = """
SELECT creation.offset, {state}, CASE WHEN creation.state_offset > creation.offset THEN creation.payload END, t.state
FROM channels c
JOIN events creation ON creation.message_id = ?2 AND creation.channel_id = c.id
LEFT JOIN reacted t ON t.channel_id = c.id AND t.created = creation.offset
WHERE c.name = ?1
""".replace("{state}", STATE)

# A line is the offset of a message's creation, the state of its reactions, and the payload of its state. Tabs stand
# between them: JSON has none.
_HISTORY = """
SELECT c.epoch, c.head, (
    SELECT CAST(group_concat(line, char(10)) AS BLOB) FROM (
        SELECT creation.offset || char(9) || coalesce(t.state, '') || char(9) || {state} AS line FROM events creation
        LEFT JOIN reacted t ON t.channel_id = creation.channel_id AND t.created = creation.offset
        WHERE creation.channel_id = c.id AND creation.offset > ?2 AND creation.offset < ?3
        AND creation.message_id IS NOT NULL ORDER BY creation.offset {direction} LIMIT ?4
    )
) FROM channels c WHERE c.name = ?1
"""
_NEWEST_FIRST = _HISTORY.format(state=STATE, direction="DESC")
_OLDEST_FIRST = _HISTORY.format(state=STATE, direction="ASC")

_BEYOND = 2**62
"""Above every offset."""


class Reader:
    """Reads the log on threads."""

    def __init__(self, file: OpenedFile, store_id: bytes) -> None:
        self._file = file
        self._store_id = store_id
        self._threads = ReaderThreads(file)
        self._down = False  # the last read failed, and that was logged

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """See the port's `read`."""

        def replay(row: Row | None) -> Replay:
            if row is None:
                return Replay(0, self.start(channel), [])
            epoch, head, floor, creations, others = row
            events = [decode_event(line) for line in split_lines(creations)]
            if others:
                events += map(decode_event, split_lines(others))
                events.sort(key=attrgetter("offset"))
            return Replay(floor, Position(epoch, head), events)

        return await self.query(_READ, (channel, after, limit), replay, shares=True)

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position]:
        """See the port's `heads`. A thousand channels take about as long as three reads."""

        def positions(row: Row | None) -> Mapping[ChannelName, Position]:
            assert row is not None  # an aggregate always has a row
            known = {name: Position(epoch, head) for name, epoch, head in orjson.loads(row[0])}
            return {channel: known.get(channel) or self.start(channel) for channel in channels}

        return await self.query(_HEADS, (orjson.dumps(channels).decode(),), positions)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """See the port's `message`."""

        def state(row: Row | None) -> Message | Tombstone | None:
            if row is None:
                return None
            offset, payload, creation, reactions = row
            last = state_of(decode_event(payload))
            created = decode_event(creation) if isinstance(last, MessageDeleted) else None
            return reacting(state_after(last, offset, created), reactions)

        return await self.query(_MESSAGE, (channel, id), state)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """See the port's `history`."""
        forward = after is not None and before is None
        bounds = (0 if after is None else after, _BEYOND if before is None else before)

        def page(row: Row | None) -> Page:
            if row is None:
                return Page([], self.start(channel), more=False)
            epoch, head, lines = row
            found = [line.split(b"\t") for line in split_lines(lines)]
            messages = [_message(*line) for line in found[:limit]]
            if not forward:
                messages.reverse()
            return Page(messages, Position(epoch, head), more=len(found) > limit)

        sql = _OLDEST_FIRST if forward else _NEWEST_FIRST
        return await self.query(sql, (channel, *bounds, limit + 1), page)

    def stop(self) -> None:
        """Finish the reads that wait or run, then close the connections. Blocks."""
        self._threads.stop()

    async def query(self, sql: str, arguments: Row, shape: Callable[[Row | None], _T], *, shares: bool = False) -> _T:
        """Run a query for a row on a thread, and return `shape` of the row. Raises `Unavailable`, `Overloaded`.

        A query that `shares` goes to the thread with others that are asked in the same turn of the event loop.
        """
        if self._threads.ended:
            raise closed()
        if self._file.lost:
            raise _lost()
        if self._threads.pending >= WAITING_LIMIT:
            raise Overloaded("too many reads wait for the message log")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        run = self._threads.run_together if shares else self._threads.run
        run(Query(sql, arguments, shape, answer))
        # An answer that has come while the event loop was busy is taken, though the time is over.
        late = loop.call_later(DEADLINE_S, loop.call_soon, _give_up, answer)
        try:
            result = await answer
        except FileLost as error:  # the writer tells of it
            raise _lost() from error
        except (sqlite3.Error, DecodeError) as error:
            raise self._unreadable(error) from error
        finally:
            late.cancel()
        self._down = False
        return result

    def _unreadable(self, error: Exception) -> Unavailable:
        if not self._down:
            _log.error("message_log.unreadable", path=str(self._file.path), error=str(error))
        self._down = True
        return Unavailable("the message log can't be read")

    def start(self, channel: ChannelName) -> Position:
        """Return the head of a channel that has had no event."""
        return Position(channel_epoch(self._store_id, channel), 0)


def _message(offset: bytes, reactions: bytes, payload: bytes) -> Message | Tombstone:
    return reacting(state_after(state_of(decode_event(payload)), int(offset)), reactions)


def _give_up(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(Unavailable(f"the message log did not answer within {DEADLINE_S:.0f} s"))


def _lost() -> Unavailable:
    return Unavailable("the message log's file was removed or replaced")


def split_lines(lines: bytes | None) -> list[bytes]:
    """Return the lines of a value that `group_concat` made; there may be none."""
    return lines.split(b"\n") if lines else []
