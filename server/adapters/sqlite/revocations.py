"""Revocations and denials in the log's file."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from server.adapters.clock import now_ms
from server.adapters.orders import decode_revocation, encode_revocation
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded
from server.domain.identity import UserId
from server.ports.revocations import ENTRIES_LIMIT, Held, Revocations


class SqliteRevocations(Revocations):
    """Entries in the file of a log, which its thread writes and reads: there are few, and they are read at the start.
    `now_ms` is wall-clock time in milliseconds."""

    def __init__(self, log: SqliteMessageLog, now_ms: Callable[[], int] = now_ms, limit: int = ENTRIES_LIMIT) -> None:
        self._log = log
        self._now_ms = now_ms
        self._limit = limit  # of each kind

    async def add(self, revocation: Revocation) -> None:
        entry = (revocation.id, encode_revocation(revocation), revocation.expires_at)

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM revocations WHERE id = ?", (revocation.id,))
            self._make_room(db, "revocations")
            db.execute("INSERT INTO revocations (id, entry, expires_at) VALUES (?, ?, ?)", entry)

        await self._log.do(work)

    async def remove(self, id: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            self._forget(db, "revocations")
            return db.execute("DELETE FROM revocations WHERE id = ?", (id,)).rowcount > 0

        return await self._log.do(work)

    async def deny(self, denial: Denial) -> None:
        key = (denial.user, denial.channel)

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM denials WHERE user = ? AND channel = ?", key)
            if denial.expires_at > self._now_ms():
                self._make_room(db, "denials")
                db.execute(
                    "INSERT INTO denials (user, channel, expires_at) VALUES (?, ?, ?)", (*key, denial.expires_at)
                )

        await self._log.do(work)

    async def load(self) -> Held:
        now = (self._now_ms(),)

        def work(db: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
            revoked = db.execute("SELECT entry FROM revocations WHERE expires_at > ?", now).fetchall()
            return revoked, db.execute(
                "SELECT channel, user, expires_at FROM denials WHERE expires_at > ?", now
            ).fetchall()

        # Decoded in another thread: the writer's has more urgent work.
        return await asyncio.to_thread(_held, *await self._log.do(work))

    def _make_room(self, db: sqlite3.Connection, table: str) -> None:
        """Raise `Overloaded` if there is none."""
        self._forget(db, table)
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # the names above
        if count >= self._limit:
            raise Overloaded(f"{self._limit} entries are held; lift some, or wait until some have expired")

    def _forget(self, db: sqlite3.Connection, table: str) -> None:
        """Drop the entries that have expired."""
        db.execute(f"DELETE FROM {table} WHERE expires_at <= ?", (self._now_ms(),))  # noqa: S608  # as above


def _held(revoked: list[Any], denied: list[Any]) -> Held:
    return Held(
        [revocation for (raw,) in revoked if (revocation := decode_revocation(raw)) is not None],
        [Denial(ChannelName(channel), UserId(user), until) for channel, user, until in denied],
    )
