"""Erasures in the log's file, and its index of authors."""

import sqlite3
from collections.abc import Sequence

from server.adapters.erasures import decode_erasure, encode_erasure
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, forgettable
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures

PAGE = 500
"""Channels that are asked for at once: no append is written meanwhile."""

_CHANNELS = """
SELECT a.channel_id, c.name FROM authors a JOIN channels c ON c.id = a.channel_id
WHERE a.author = ? AND a.channel_id > ? ORDER BY a.channel_id LIMIT ?
"""


class SqliteErasures(Erasures):
    """Keeps erasures in the file of a log, which its thread writes and reads."""

    def __init__(self, log: SqliteMessageLog, limit: int = ERASURES_LIMIT) -> None:
        self._log, self._limit = log, limit

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2, 6."""

        def work(db: sqlite3.Connection) -> Erasure:
            found = db.execute("SELECT record FROM erasures WHERE id = ?", (erasure.id,)).fetchone()
            if found is not None:
                return _known(found[0])
            kept = _all(db)
            old = forgettable(kept, erasure.began_at, KEPT_MS, self._limit)
            if len(kept) - len(old) >= self._limit:
                raise Overloaded(f"{self._limit} erasures are under way; wait until some are done")
            db.executemany("DELETE FROM erasures WHERE id = ?", [(each.id,) for each in old])
            db.execute("INSERT INTO erasures (id, record) VALUES (?, ?)", (erasure.id, encode_erasure(erasure)))
            return erasure

        return await self._log.do(work)

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure. Promises 1, 5, 6."""

        def work(db: sqlite3.Connection) -> Erasure | None:
            found = db.execute("SELECT record FROM erasures WHERE id = ?", (id,)).fetchone()
            return None if found is None else decode_erasure(found[0])

        return await self._log.do(work)

    async def all(self) -> Sequence[Erasure]:
        """Return all. Promises 1, 5, 6."""
        return sorted(await self._log.do(_all), key=lambda each: (each.began_at, each.id))

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write if nobody else has. Promises 1, 3, 6."""
        words = encode_erasure(new), old.id, encode_erasure(old)

        def work(db: sqlite3.Connection) -> bool:
            changed = db.execute("UPDATE erasures SET record = ? WHERE id = ? AND record = ?", words)
            return changed.rowcount > 0

        return await self._log.do(work)

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Read the index of authors. Promises 4, 6."""
        rows = await self._log.do(lambda db: db.execute(_CHANNELS, (user, int(after or 0), PAGE)).fetchall())
        return [ChannelName(name) for _, name in rows], str(rows[-1][0]) if len(rows) == PAGE else None


def _all(db: sqlite3.Connection) -> list[Erasure]:
    rows = db.execute("SELECT record FROM erasures")
    return [erasure for (raw,) in rows if (erasure := decode_erasure(raw)) is not None]


def _known(raw: bytes) -> Erasure:
    erasure = decode_erasure(raw)
    if erasure is None:
        raise Unavailable("the erasure with this id was asked for by a newer version of the server")
    return erasure
