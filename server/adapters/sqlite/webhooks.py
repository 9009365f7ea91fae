"""Webhooks in the log's file: the thread that appends writes what a channel owes, and moves it."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from server.adapters.clock import now_ms
from server.adapters.sqlite.debts import STARTED
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.rows import execute_rows
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt, Leads, covers
from server.domain.errors import BadRequest
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import DEAD_LETTERS, LEAD_S, Webhooks

REFRESH_MS = 3_600_000
"""How late it is noted that an endpoint was opened again."""

STEP_CHANNELS = 2_000
"""Channels of which a transaction owes everything to an endpoint that begins at the start."""

_DEBT = """
SELECT d.endpoint_id, d.channel_id, d.delivered, c.epoch, c.head FROM webhook_endpoints e
JOIN channels c ON c.name = ?2
JOIN webhook_debts d ON d.endpoint_id = e.id AND d.channel_id = c.id WHERE e.name = ?1
"""

_PAGE = """
SELECT json_group_array(json_array(c.id, c.name, c.epoch, d.delivered)) FROM (
    SELECT channel_id, delivered FROM webhook_debts
    WHERE endpoint_id = (SELECT id FROM webhook_endpoints WHERE name = ?1) AND channel_id > ?2
    ORDER BY channel_id LIMIT ?3
) d JOIN channels c ON c.id = d.channel_id
"""

_COUNT = "SELECT count(*) FROM webhook_debts WHERE endpoint_id = (SELECT id FROM webhook_endpoints WHERE name = ?)"

_LETTERS = """
SELECT json_group_array(json_array(id, channel, epoch, first, last, reason, failed_at)) FROM (
    SELECT * FROM webhook_letters WHERE endpoint = ? AND id > ? ORDER BY id LIMIT ?
)
"""

_TAKE = """
DELETE FROM webhook_letters WHERE endpoint = ? AND id = ?
RETURNING id, channel, epoch, first, last, reason, failed_at
"""


class SqliteWebhooks(Webhooks):
    """The debts of a log. `now_ms` is wall-clock time in milliseconds; leads are those of this process."""

    def __init__(
        self, log: SqliteMessageLog, now_ms: Callable[[], int] = now_ms, *, dead_letters: int = DEAD_LETTERS
    ) -> None:
        self._log, self._now_ms, self._dead_letters = log, now_ms, dead_letters
        self._leads = Leads(LEAD_S)

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        """Write the endpoint's row; in steps, the debts that it begins with."""
        packed, now = orjson.dumps(list(patterns)).decode(), self._now_ms()

        def work(db: sqlite3.Connection) -> tuple[bool, int]:
            row = db.execute(
                "SELECT patterns, opened_at, starting FROM webhook_endpoints WHERE name = ?", (endpoint,)
            ).fetchone()
            starting = row[2] if row else 0 if from_start else STARTED
            if row is None or row[0] != packed or abs(now - row[1]) > REFRESH_MS:
                db.execute(
                    "INSERT INTO webhook_endpoints (name, patterns, opened_at, starting) VALUES (?1, ?2, ?3, ?4)"
                    " ON CONFLICT (name) DO UPDATE SET patterns = ?2, opened_at = ?3",
                    (endpoint, packed, now, starting),
                )
                self._log.debts.forget()
            return row is None, starting

        is_new, starting = await self._log.do(work)
        while starting != STARTED:
            starting = await self._log.do(partial(self._begin, endpoint, patterns, starting))
        return is_new

    def _begin(self, endpoint: str, patterns: Sequence[str], after: int, db: sqlite3.Connection) -> int:
        """Owe all that the next channels keep. Returns the id of the last, `STARTED` at the end."""
        rows = db.execute(
            "SELECT id, name, head, floor FROM channels WHERE id > ? ORDER BY id LIMIT ?", (after, STEP_CHANNELS)
        ).fetchall()
        (endpoint_id,) = db.execute("SELECT id FROM webhook_endpoints WHERE name = ?", (endpoint,)).fetchone()
        owed = [(endpoint_id, id, floor) for id, name, head, floor in rows if head > floor and covers(patterns, name)]
        execute_rows(db, "INSERT OR IGNORE INTO webhook_debts (endpoint_id, channel_id, delivered) VALUES {rows}", owed)
        last = int(rows[-1][0]) if len(rows) == STEP_CHANNELS else STARTED
        db.execute("UPDATE webhook_endpoints SET starting = ? WHERE id = ?", (last, endpoint_id))
        if last == STARTED:
            self._log.debts.forget()
        return last

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        return self._leads.take(endpoint, replica, time.monotonic())

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        self._leads.end(endpoint, replica)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        rows: list[Any] = await self._read(_PAGE, (endpoint, int(after or 0), limit))
        rows.sort()
        page = [Debt(ChannelName(name), Position(epoch, delivered)) for _, name, epoch, delivered in rows]
        return page, str(rows[-1][0]) if len(rows) == limit else None

    async def owed(self, endpoint: str) -> int:
        return await self._log.reader.query(_COUNT, (endpoint,), lambda row: int(row[0]) if row else 0)

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        return await self._log.do(lambda db: self._move(db, endpoint, channel, delivered, to))

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        row = (endpoint, letter.channel, letter.epoch, letter.first, letter.last, letter.reason, letter.failed_at)

        def work(db: sqlite3.Connection) -> bool:
            if not self._move(db, endpoint, letter.channel, delivered, to):
                return False
            db.execute(
                "INSERT INTO webhook_letters (endpoint, channel, epoch, first, last, reason, failed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            db.execute(
                "DELETE FROM webhook_letters WHERE endpoint = ?1 AND id <= ("
                "SELECT id FROM webhook_letters WHERE endpoint = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (endpoint, self._dead_letters),
            )
            return True

        return await self._log.do(work)

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        above = 0 if after is None else _number(after)
        if above is None:
            raise BadRequest("after: expected the id of a dead letter", details={"field": "after"})
        return [_letter(row) for row in sorted(await self._read(_LETTERS, (endpoint, above, limit)))]

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        wanted = [number for id in ids if (number := _number(id)) is not None]

        # A statement each: SQLite 3.40 finds nothing for `(endpoint, id) IN (VALUES (?, ?))` with the index `letters`.
        def work(db: sqlite3.Connection) -> list[DeadLetter]:
            return [_letter(row) for number in wanted for row in db.execute(_TAKE, (endpoint, number)).fetchall()]

        return await self._log.do(work)

    def _move(
        self, db: sqlite3.Connection, endpoint: str, channel: ChannelName, delivered: Position, to: Position
    ) -> bool:
        row = db.execute(_DEBT, (endpoint, channel)).fetchone()
        if row is None:
            return False
        endpoint_id, channel_id, offset, epoch, head = row
        if delivered != Position(epoch, offset) or to.epoch != epoch or to.offset > head:
            return False
        key = (endpoint_id, channel_id)
        if to.offset == head:
            db.execute("DELETE FROM webhook_debts WHERE endpoint_id = ? AND channel_id = ?", key)
            self._log.debts.paid(channel_id)
        else:
            db.execute(
                "UPDATE webhook_debts SET delivered = ? WHERE endpoint_id = ? AND channel_id = ?", (to.offset, *key)
            )
        return True

    async def _read(self, sql: str, arguments: tuple[object, ...]) -> Any:
        return await self._log.reader.query(sql, arguments, lambda row: orjson.loads(row[0]) if row else [])


def _number(id: str) -> int | None:
    """Return the id of a letter; None if it is none."""
    return int(id) if id.isascii() and id.isdecimal() and len(id) < 19 else None  # noqa: PLR2004  # digits of 63 bits


def _letter(row: Sequence[Any]) -> DeadLetter:
    id, channel, *rest = row
    return DeadLetter(str(id), ChannelName(channel), *rest)
