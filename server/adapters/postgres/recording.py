"""The events of applications that a transaction writes."""

from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import Connection

from server.adapters.codec import DecodeError
from server.adapters.postgres.growth import Channel, Growth, columns
from server.adapters.postgres.intake import Entry
from server.adapters.postgres.placing import placed
from server.domain.appending import published
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.events import EventPublished
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.ports.records import Recorded

Key = tuple[ChannelName, UserId, str]

_FIND = """
SELECT w.n, k."offset" AS place, k.at, e.payload
FROM unnest($1::bigint[], $2::text[], $3::bytea[]) WITH ORDINALITY w (channel_id, author, key, n)
JOIN maru.channels c ON c.id = w.channel_id
JOIN maru.keys k ON k.channel_id = c.id AND k.author = w.author AND k.key = w.key AND k.record AND k.expires_ms > $4
LEFT JOIN maru.events e ON e.channel_id = c.id AND e."offset" = k."offset" AND k."offset" > c.floor
"""
_KEYS = """
INSERT INTO maru.keys (channel_id, author, key, "offset", at, record, expires_ms)
SELECT k.*, true, $6 FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[]) k
ON CONFLICT (channel_id, author, key, record) DO UPDATE SET
"offset" = excluded."offset", at = excluded.at, expires_ms = excluded.expires_ms
"""
_RECORDS = """
INSERT INTO maru.records (channel_id, "offset", name) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
"""


@dataclass(slots=True)
class First:
    """The first record of a key. `payload` is None if its event has been dropped since."""

    place: int
    at: int
    payload: bytes | None


class Recording:
    """Plans the rows of records."""

    def __init__(self, connection: Connection, growth: Growth) -> None:
        self._connection, self._growth = connection, growth
        self._firsts: dict[Key, First | EventPublished] = {}  # of earlier transactions, or made here
        self._keys: dict[Key, tuple[int, str, bytes, int, int]] = {}
        self._rows: list[tuple[int, int, bytes]] = []

    async def load(self, drafts: Sequence[Entry]) -> None:
        """Read the keys that the entries repeat."""
        keys = [
            (draft.channel, draft.author.id, draft.key)
            for draft in drafts
            if isinstance(draft, Record) and draft.key is not None
        ]
        if not keys:
            return
        wanted = [(self._growth.channels[channel].id, author, key.encode()) for channel, author, key in keys]
        for row in await self._connection.fetch(_FIND, *columns(wanted), self._growth.now_ms):
            self._firsts[keys[row["n"] - 1]] = First(row["place"], row["at"], row["payload"])

    def record(self, channel: Channel, record: Record) -> Recorded:
        """Plan the rows of a record, unless its key is known. Raises `RateLimited`, `DecodeError`."""
        key = None if record.key is None else (record.channel, record.author.id, record.key)
        if key and (first := self._firsts.get(key)):
            event = first if isinstance(first, EventPublished) else _first(channel, record, first)
            return Recorded(event, duplicate=True)
        event = published(record, channel.next)
        self._growth.take(channel)
        self._growth.add(channel, event)
        self._rows.append((channel.id, event.offset, event.name.encode()))
        if key:
            self._firsts[key] = event
            self._keys[key] = (channel.id, key[1], key[2].encode(), event.offset, record.at)
        return Recorded(event, duplicate=False)

    async def save(self) -> None:
        """Write the rows."""
        if self._rows:
            await self._connection.execute(_RECORDS, *columns(list(self._rows)))
        if self._keys:
            expires_ms = self._growth.now_ms + KEY_LIFETIME_MS
            await self._connection.execute(_KEYS, *columns(list(self._keys.values())), expires_ms)


def _first(channel: Channel, record: Record, first: First) -> EventPublished:
    """Return the event of the first record with the key. The content of the repeat stands in for that of an event that
    the log has dropped."""
    if first.payload is None:
        place = (channel.name, channel.epoch, first.place, first.at)
        return EventPublished(*place, record.name, record.author, record.data, record.key)
    event = placed(first.payload, channel.epoch, first.place, first.at)
    if not isinstance(event, EventPublished):
        raise DecodeError(f"expected an event of an application, found {type(event).__name__}")
    return event
