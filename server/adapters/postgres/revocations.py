"""Revocations and denials in PostgreSQL, for all replicas. They expire by its clock."""

import asyncio
from collections.abc import Callable, Sequence

from asyncpg import Record

from server.adapters.clock import now_ms
from server.adapters.codec import MAX_TIME_MS
from server.adapters.orders import decode_revocation, encode_revocation
from server.adapters.postgres.database import Database
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.revocations import ENTRIES_LIMIT, Held, Revocations

PAGE = 1_000
"""Entries that are read at once: the event loop serves others in between."""

LOAD_S = 20.0
"""Time to read them all, however many there are; each page has 2 s."""

_REVOKE = "SELECT maru.hold_revocation($1, $2, $3, $4)"
_DENY = "SELECT maru.hold_denial($1, $2, $3, $4)"
_REVOKED = "SELECT id, entry FROM maru.revocations WHERE id > $1 ORDER BY id LIMIT $2"
_DENIED = """
SELECT "user", channel, expires_at FROM maru.denials WHERE ("user", channel) > ($1, $2)
ORDER BY "user", channel LIMIT $3
"""


class PostgresRevocations(Revocations):
    """Entries in a database that it does not own."""

    def __init__(self, db: Database, limit: int = ENTRIES_LIMIT, now_ms: Callable[[], int] = now_ms) -> None:
        self._db, self._limit, self._now_ms = db, limit, now_ms  # the limit is that of each kind

    async def add(self, revocation: Revocation) -> None:
        """Call a function."""
        entry = encode_revocation(revocation)
        await self._put(_REVOKE, revocation.id.encode(), entry, revocation.expires_at)

    async def remove(self, id: str) -> bool:
        """Call a function."""
        return await self._put(_REVOKE, id.encode(), b"", 0)

    async def deny(self, denial: Denial) -> None:
        """Call a function."""
        await self._put(_DENY, denial.user.encode(), denial.channel, denial.expires_at)

    async def load(self) -> Held:
        """Read page by page. An entry that comes or goes meanwhile may be among them or not."""
        try:
            async with asyncio.timeout(LOAD_S):
                revoked, denied = await self._revoked(), await self._denied()
        except TimeoutError as error:
            raise Unavailable(f"PostgreSQL did not give all revocations within {LOAD_S:.0f} s") from error
        return await asyncio.to_thread(_held, revoked, denied, self._now_ms())

    async def _put(self, sql: str, *entry: object) -> bool:
        was = await self._db.fetchval(sql, *entry, self._limit)
        if was is None:
            raise Overloaded(f"{self._limit} entries are held; lift some, or wait until some have expired")
        return bool(was)

    async def _revoked(self) -> list[Record]:
        found, page = list[Record](), await self._db.fetch(_REVOKED, b"", PAGE)
        while page:
            found += page
            page = await self._db.fetch(_REVOKED, page[-1]["id"], PAGE)
        return found

    async def _denied(self) -> list[Record]:
        found, page = list[Record](), await self._db.fetch(_DENIED, b"", "", PAGE)
        while page:
            found += page
            page = await self._db.fetch(_DENIED, page[-1]["user"], page[-1]["channel"], PAGE)
        return found


def _held(revoked: Sequence[Record], denied: Sequence[Record], now: int) -> Held:
    revocations, denials = (decode_revocation(row["entry"]) for row in revoked), map(_denial, denied)
    return Held(
        [each for each in revocations if each is not None and each.expires_at > now],
        [each for each in denials if each is not None and each.expires_at > now],
    )


def _denial(row: Record) -> Denial | None:
    try:
        user = UserId(row["user"].decode())
    except UnicodeDecodeError:
        return None
    return Denial(ChannelName(row["channel"]), user, row["expires_at"]) if row["expires_at"] <= MAX_TIME_MS else None
