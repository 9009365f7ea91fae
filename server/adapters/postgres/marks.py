"""Reading marks in PostgreSQL: offsets by user, from which the rest is counted (schema_people.sql)."""

from collections.abc import Mapping, Sequence

from asyncpg import Record

from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.reader import JOIN_STATE, STATE, head_of, message_of
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.domain.messages import Message
from server.ports.marks import MENTIONS_COUNTED, Marks

_NAMED = 2 * MENTIONS_COUNTED

_MOVE = f"""
SELECT m.moved, k.* FROM maru.mark($1, $2, $3) m (moved), LATERAL maru.marks_of(ARRAY[$1], $2, {_NAMED}) k
"""  # noqa: S608  # a number of ours
_MARKS = f"SELECT * FROM maru.marks_of($1, $2, {_NAMED})"  # noqa: S608  # as above
_INBOX = f"""
SELECT m.*, {STATE} FROM maru.marks_of($1, $2, {_NAMED}) WITH ORDINALITY
    m (life, name, id, head, losses, mark, unread, mentions, n)
LEFT JOIN LATERAL (
    SELECT * FROM maru.events l WHERE l.channel_id = m.id AND l.message_id IS NOT NULL AND l."offset" > (
        SELECT c.floor FROM maru.channels c WHERE c.id = m.id
    ) ORDER BY l."offset" DESC LIMIT 1
) e ON true LEFT {JOIN_STATE.strip()} ORDER BY m.n
"""  # noqa: S608  # texts of ours
_RECEIPTS = """
SELECT r."user", least(r."offset", c.head) AS mark FROM maru.channels c JOIN maru.reads r ON r.channel_id = c.id
WHERE c.name = $1 ORDER BY mark DESC, r."user" LIMIT $2
"""


class PostgresMarks(Marks):
    """The marks in the channels of a log."""

    def __init__(self, log: PostgresMessageLog) -> None:
        self._db, self._reader = log.database, log.reader

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        def shape(rows: Sequence[Record], key: bytes) -> Marked:
            return Marked(_mark(rows[0], key), rows[0]["moved"])

        return await self._reader.query(shape, _MOVE, channel, user, offset, reads=False)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        def shape(rows: Sequence[Record], key: bytes) -> Mapping[ChannelName, Mark]:
            return {ChannelName(row["name"]): _mark(row, key) for row in rows}

        return await self._reader.query(shape, _MARKS, list(channels), user) if channels else {}

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        def shape(rows: Sequence[Record], key: bytes) -> Sequence[InboxEntry]:
            return [_entry(row, key) for row in rows]

        return await self._reader.query(shape, _INBOX, list(channels), user) if channels else []

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        rows = await self._db.fetch(_RECEIPTS, channel, limit)
        return [Receipt(UserId(row["user"]), row["mark"]) for row in rows]


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
