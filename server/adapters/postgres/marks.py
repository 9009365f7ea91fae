"""Reading marks in PostgreSQL: offsets by user, from which the rest is counted."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from asyncpg import Record

from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.reader import JOIN_STATE, STATE, head_of, message_of
from server.adapters.postgres.unread import MARK, UNREAD, UNREAD_MENTIONS
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.domain.messages import Message
from server.ports.marks import Marks

_MOVE = "SELECT maru.mark($1, $2, $3)"

# There is a row for each channel of `$1`, in its order; `$2` is the user.
_MARKS = f"""
SELECT maru.life() AS life, n.name, c.head, c.losses, {MARK} AS mark, {UNREAD} AS unread, {UNREAD_MENTIONS} AS mentions
{{columns}}
FROM unnest($1::text[]) WITH ORDINALITY n (name, n) LEFT JOIN maru.channels c ON c.name = n.name
LEFT JOIN maru.reads r ON r.channel_id = c.id AND r."user" = $2 {{joined}}
ORDER BY n.n
"""  # noqa: S608  # texts of ours

_LAST = """
LEFT JOIN LATERAL (
    SELECT * FROM maru.events l WHERE l.channel_id = c.id AND l.message_id IS NOT NULL AND l."offset" > c.floor
    ORDER BY l."offset" DESC LIMIT 1
) e ON true LEFT
"""

_INBOX = _MARKS.format(columns=f", {STATE}", joined=_LAST + JOIN_STATE)

_RECEIPTS = f"""
SELECT maru.life() AS life, r."user", {MARK} AS mark FROM maru.channels c JOIN maru.reads r ON r.channel_id = c.id
WHERE c.name = $1 ORDER BY mark DESC, r."user" LIMIT $2
"""  # noqa: S608  # as above

_T = TypeVar("_T")


class PostgresMarks(Marks):
    """The marks in the channels of a log."""

    def __init__(self, log: PostgresMessageLog) -> None:
        self._db, self._reader = log.database, log.reader

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        moved: bool = await self._db.fetchval(_MOVE, channel, user, offset)
        return Marked((await self.marks(user, (channel,)))[channel], moved)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        def shape(rows: Sequence[Record], key: bytes) -> Mapping[ChannelName, Mark]:
            return {ChannelName(row["name"]): _mark(row, key) for row in rows}

        return await self._query(shape, _MARKS.format(columns="", joined=""), user, channels)

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        def shape(rows: Sequence[Record], key: bytes) -> Sequence[InboxEntry]:
            return [_entry(row, key) for row in rows]

        return await self._query(shape, _INBOX, user, channels)

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        rows = await self._db.fetch(_RECEIPTS, channel, limit)
        return [Receipt(UserId(row["user"]), row["mark"]) for row in rows]

    async def _query(
        self,
        shape: Callable[[Sequence[Record], bytes], _T],
        sql: str,
        user: UserId,
        channels: Sequence[ChannelName],
    ) -> _T:
        if not channels:
            return shape((), b"")
        return await self._reader.query(shape, sql, list(channels), user)


def _mark(row: Record, key: bytes) -> Mark:
    head = head_of(row, key, ChannelName(row["name"]))
    if row["head"] is None:
        return Mark(0, 0, 0, head)
    return Mark(row["mark"], row["unread"], row["mentions"], head)


def _entry(row: Record, key: bytes) -> InboxEntry:
    mark, channel = _mark(row, key), ChannelName(row["name"])
    if row["created"] is None:
        return InboxEntry(channel, mark, None, None)
    last = message_of(row, mark.head.epoch)
    return InboxEntry(channel, mark, last, last.created_at if isinstance(last, Message) else row["created_at"])
