"""Work in the background: events that are too old, also in channels that nobody writes to; expired keys; the edits of
deleted messages. A single replica does a step."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from asyncpg import Connection, Record

from server.adapters.postgres.database import Database
from server.adapters.postgres.states import STEP_EDITS
from server.adapters.postgres.terms import Terms
from server.domain.channels import ChannelName
from server.domain.errors import MaruError

STEP_CHANNELS = 1_000
"""Channels that a step looks at."""

STEP_ROWS = 1_000
"""Events of a channel, and keys, that a statement removes: some 10 ms."""

PACE_S = 0.02
"""Between two steps: appends go first."""

LOCK = 0x4D415256
"""The advisory lock of the replica that sweeps."""

# The oldest event of a channel; its index entry is the first behind the floor.
_LOOK = """
SELECT c.id, c.name, c.head, c.floor, e.written_ms, maru.now_ms($3) AS now_ms FROM (
    SELECT * FROM maru.channels WHERE id > $1 ORDER BY id LIMIT $2
) c LEFT JOIN maru.events e ON e.channel_id = c.id AND e."offset" = c.floor + 1 ORDER BY c.id
"""
_KEYS = """
DELETE FROM maru.keys WHERE ctid = ANY (ARRAY (
    SELECT k.ctid FROM maru.keys k WHERE k.expires_ms <= maru.now_ms($1) LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""

_log = structlog.get_logger("maru.log")


class Sweep:
    """Passes over all channels, in bounded steps, with a pause of `interval_s` between passes."""

    def __init__(self, database: Database, terms: Terms, interval_s: float) -> None:
        self._database, self._terms, self._interval_s = database, terms, interval_s
        self._done_with = 0  # the highest channel id of this pass so far

    async def run(self) -> None:
        """Sweep until cancelled. While PostgreSQL is away, it waits."""
        while True:
            try:
                wait_s = await self.step()
            except MaruError as error:
                _log.debug("message_log.sweep_waits", error=str(error))
                wait_s = self._interval_s
            except Exception as error:  # noqa: BLE001  # a fault of ours: what is written and read goes on
                _log.exception("message_log.not_tended", error=type(error).__name__)
                wait_s = self._interval_s
            await asyncio.sleep(wait_s)

    async def step(self) -> float:
        """Do a step of the pass. Returns the seconds until the next is due. Raises `Unavailable`."""
        more = await self._if_alone(self._step)
        if more:
            return PACE_S
        self._done_with = 0
        return self._interval_s

    async def _if_alone(self, work: Callable[[Connection], Awaitable[bool]]) -> bool:
        async with self._database.transaction() as connection:
            # Of the transaction: a PgBouncer may lead each to another connection.
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK):
                return False
            return await work(connection)

    async def _step(self, connection: Connection) -> bool:
        own = self._terms.now_ms
        keys = await connection.execute(_KEYS, own, STEP_ROWS)
        edits = await connection.fetchval("SELECT maru.erase_edits($1)", STEP_EDITS)
        rows = await connection.fetch(_LOOK, self._done_with, STEP_CHANNELS, own)
        dropped = 0
        for row in rows:
            dropped += await self._trim(connection, row)
            if dropped >= STEP_ROWS:  # the channels that were trimmed are locked until the end: look at it again
                return True
            self._done_with = row["id"]
        return len(rows) == STEP_CHANNELS or keys == f"DELETE {STEP_ROWS}" or edits == STEP_EDITS

    async def _trim(self, connection: Connection, row: Record) -> int:
        """Drop what the channel should not have any more. Returns how many events were dropped."""
        kept = self._terms.retention.of(ChannelName(row["name"]))
        before_ms = row["now_ms"] - kept.age_ms
        is_old = row["written_ms"] is not None and row["written_ms"] < before_ms
        if not is_old and row["head"] - row["floor"] <= kept.events:
            return 0
        floor: int | None = await connection.fetchval(
            "SELECT maru.trim($1, $2, $3, $4)", row["id"], before_ms, kept.events, STEP_ROWS
        )
        return 0 if floor is None else floor - int(row["floor"])
