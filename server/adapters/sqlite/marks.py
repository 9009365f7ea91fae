"""Reading marks in the log's file: written with the drafts of messages, in their transactions."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from server.adapters.codec import decode_event, state_of
from server.adapters.sqlite.entries import Moving
from server.adapters.sqlite.events import STATE
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.reader_threads import Row
from server.adapters.sqlite.tallies import reacting
from server.adapters.sqlite.unread import UNREAD, UNREAD_MENTIONS
from server.domain.channels import ChannelName
from server.domain.events import state_after
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.domain.messages import Message, Position
from server.ports.marks import Marks

_MARK = f"c.name, c.epoch, c.head, coalesce(r.offset, 0), {UNREAD}, {UNREAD_MENTIONS}"

# `?1` is the JSON list of the channels, `?2` the user.
_FROM = """
FROM json_each(?1) n CROSS JOIN channels c ON c.name = n.value
LEFT JOIN reads r ON r.channel_id = c.id AND r.user = ?2
"""

_MARKS = f"SELECT json_group_array(json_array({_MARK})) {_FROM}"

_LAST = f"""
creation.offset, CAST({STATE} AS TEXT),
CASE WHEN creation.state_offset > creation.offset THEN CAST(creation.payload AS TEXT) END, t.state
"""

_JOIN_LAST = """
LEFT JOIN events creation ON creation.n = (
    SELECT e.n FROM events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL ORDER BY e.offset DESC LIMIT 1
)
LEFT JOIN reacted t ON t.channel_id = c.id AND t.created = creation.offset
"""

_INBOX = f"SELECT json_group_array(json_array({_MARK}, {_LAST})) {_FROM} {_JOIN_LAST}"

_RECEIPTS = """
SELECT json_group_array(json_array(user, offset)) FROM (
    SELECT r.user, r.offset FROM channels c CROSS JOIN reads r ON r.channel_id = c.id
    WHERE c.name = ?1 ORDER BY r.offset DESC, r.user LIMIT ?2
)
"""


class SqliteMarks(Marks):
    """The marks in the channels of a log."""

    def __init__(self, log: SqliteMessageLog) -> None:
        self._log = log

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        moved: bool = await self._log.write(Moving(channel, user, offset))
        marks = await self.marks(user, (channel,))
        return Marked(marks[channel], moved)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        def shape(row: Row | None) -> Mapping[ChannelName, Mark]:
            known = {name: _mark(*mark) for name, *mark in _rows(row)}
            return {channel: known.get(channel) or self._unread(channel) for channel in channels}

        return await self._log.reader.query(_MARKS, (orjson.dumps(channels).decode(), user), shape)

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        def shape(row: Row | None) -> Sequence[Receipt]:
            return [Receipt(UserId(user), offset) for user, offset in _rows(row)]

        return await self._log.reader.query(_RECEIPTS, (channel, limit), shape)

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        def shape(row: Row | None) -> Sequence[InboxEntry]:
            known = {each[0]: _entry(*each) for each in _rows(row)}
            return [known.get(name) or InboxEntry(name, self._unread(name), None, None) for name in channels]

        return await self._log.reader.query(_INBOX, (orjson.dumps(channels).decode(), user), shape)

    def _unread(self, channel: ChannelName) -> Mark:
        """Return the mark in a channel that has had no event."""
        return Mark(0, 0, 0, self._log.reader.start(channel))


def _rows(row: Row | None) -> list[Any]:
    assert row is not None  # an aggregate always has a row
    rows: list[Any] = orjson.loads(row[0])
    return rows


def _mark(epoch: str, head: int, offset: int, unread: int, mentions: int) -> Mark:
    return Mark(offset, unread, mentions, Position(epoch, head))


def _entry(name: str, *row: Any) -> InboxEntry:
    mark, (created, state, creation, reactions) = _mark(*row[:5]), row[5:]
    channel = ChannelName(name)
    if created is None:
        return InboxEntry(channel, mark, None, None)
    last = state_after(state_of(decode_event(state.encode())), created)
    if isinstance(last, Message):
        return InboxEntry(channel, mark, reacting(last, reactions), last.created_at)
    first = decode_event(creation.encode())
    return InboxEntry(channel, mark, last, first.at)
