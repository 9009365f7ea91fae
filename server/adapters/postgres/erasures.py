"""Erasures in PostgreSQL, and the log's index of authors."""

from collections.abc import Sequence

from server.adapters.erasures import decode_erasure, encode_erasure
from server.adapters.postgres.database import Database
from server.adapters.postgres.deadline import deadline
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, forgettable
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures

PAGE = 500
"""Channels that are asked for at once."""

_KEEP = "SELECT state, present FROM maru.keep_erasure($1, $2, $3, $4)"
_FIND = "SELECT record FROM maru.erasures WHERE id = $1"
_ALL = "SELECT record FROM maru.erasures"
_CHANNELS = """
SELECT a.channel_id, c.name FROM maru.authors a JOIN maru.channels c ON c.id = a.channel_id
WHERE a.author = $1 AND a.channel_id > $2 ORDER BY a.channel_id LIMIT $3
"""


class PostgresErasures(Erasures):
    """Keeps erasures in a database that it does not own."""

    def __init__(self, db: Database, limit: int = ERASURES_LIMIT) -> None:
        self._db, self._limit = db, limit

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2, 6."""
        async with deadline():
            return await self._add(erasure)

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure. Promises 1, 5, 6."""
        raw = await self._db.fetchval(_FIND, id.encode())
        return None if raw is None else decode_erasure(raw)

    async def all(self) -> Sequence[Erasure]:
        """Return all. Promises 1, 5, 6."""
        rows = await self._db.fetch(_ALL)
        kept = [erasure for row in rows if (erasure := decode_erasure(row["record"])) is not None]
        return sorted(kept, key=lambda each: (each.began_at, each.id))

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write if nobody else has. Promises 1, 3, 6."""
        state, _ = await self._keep(old.id, encode_erasure(old), encode_erasure(new), 0)
        return state == "kept"

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Read the index of authors. Promises 4, 6."""
        rows = await self._db.fetch(_CHANNELS, user, int(after or 0), PAGE)
        return [ChannelName(name) for _, name in rows], str(rows[-1][0]) if len(rows) == PAGE else None

    async def _add(self, erasure: Erasure) -> Erasure:
        found = await self.find(erasure.id)
        if found is not None:
            return found
        for old in forgettable(await self.all(), erasure.began_at, KEPT_MS, self._limit):
            await self._keep(old.id, encode_erasure(old), None, 0)
        state, present = await self._keep(erasure.id, None, encode_erasure(erasure), self._limit)
        if state == "full":
            raise Overloaded(f"{self._limit} erasures are under way; wait until some are done")
        if state == "kept":
            return erasure
        return _known(present)

    async def _keep(self, id: str, old: bytes | None, new: bytes | None, most: int) -> tuple[str, bytes]:
        (row,) = await self._db.fetch(_KEEP, id.encode(), old, new, most)
        return row["state"], row["present"]


def _known(raw: bytes) -> Erasure:
    erasure = decode_erasure(raw)
    if erasure is None:
        raise Unavailable("the erasure with this id was asked for by a newer version of the server")
    return erasure
