"""Webhooks in PostgreSQL: the transaction that appends writes what a channel owes (schema_webhooks.sql)."""

from collections.abc import Callable, Sequence

from asyncpg import Connection, Record

from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.deadline import deadline
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.schema import Identity
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.errors import BadRequest
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import DEAD_LETTERS, FORGOTTEN_S, LEAD_S, Webhooks

REFRESH_MS = 3_600_000
"""How late it is noted that an endpoint was opened again."""

STEP_CHANNELS = 500
"""Channels that are locked while they are made to owe what they keep."""

STEP_DEBTS = 2_000
"""Debts to a forgotten endpoint that a transaction removes."""

TRIES = 3
"""How often a debt is moved while the lives of logs end."""

_OPEN = "SELECT maru.open_endpoint($1, $2, $3, $4, $5)"
_BEGIN = "SELECT maru.begin_endpoint($1, $2)"
_FORGET = "SELECT maru.forget_endpoint($1, $2, $3)"
_LEAD = """
INSERT INTO maru.webhook_leads AS l VALUES ($1, $2, maru.now_ms(NULL) + $3) ON CONFLICT (endpoint) DO UPDATE
SET replica = excluded.replica, ends_at = excluded.ends_at
WHERE l.replica = excluded.replica OR l.ends_at <= maru.now_ms(NULL) RETURNING true
"""
_HAND_OVER = "DELETE FROM maru.webhook_leads WHERE endpoint = $1 AND replica = $2"
_DEBTS = """
SELECT maru.life() AS life, c.name, c.losses AS now_losses, d.* FROM (
    SELECT * FROM maru.webhook_debts
    WHERE endpoint_id = (SELECT id FROM maru.webhook_endpoints WHERE name = $1) AND channel_id > $2
    ORDER BY channel_id LIMIT $3
) d JOIN maru.channels c ON c.id = d.channel_id ORDER BY d.channel_id
"""
_DEBT = """
SELECT maru.life() AS life, c.name, c.losses AS now_losses, d.* FROM maru.channels c
JOIN maru.webhook_endpoints e ON e.name = $1
JOIN maru.webhook_debts d ON d.endpoint_id = e.id AND d.channel_id = c.id WHERE c.name = $2
"""
_COUNT = """
SELECT count(*) FROM maru.webhook_debts WHERE endpoint_id = (SELECT id FROM maru.webhook_endpoints WHERE name = $1)
"""
_MOVE = "SELECT maru.move_debt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
_LETTERS = "SELECT * FROM maru.webhook_letters WHERE endpoint = $1 AND id > $2 ORDER BY id LIMIT $3"
_TAKE = "DELETE FROM maru.webhook_letters WHERE endpoint = $1 AND id = ANY ($2) RETURNING *"


class PostgresWebhooks(Webhooks):
    """The debts of a log. `now_ms` is the time of a test; without, PostgreSQL's own counts."""

    def __init__(
        self, log: PostgresMessageLog, now_ms: Callable[[], int] | None = None, *, dead_letters: int = DEAD_LETTERS
    ) -> None:
        self._db, self._own_ms, self._dead_letters = log.database, now_ms, dead_letters

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        """Write the endpoint's row; in steps, the debts that it begins with. Forget what nobody opens any more."""
        now = None if self._own_ms is None else self._own_ms()
        is_new: bool = await self._db.fetchval(_OPEN, now, endpoint, list(patterns), from_start, REFRESH_MS)
        while await self._db.fetchval(_BEGIN, endpoint, STEP_CHANNELS):
            pass
        while await self._db.fetchval(_FORGET, now, round(FORGOTTEN_S * 1_000), STEP_DEBTS):
            pass
        return is_new

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        return bool(await self._db.fetchval(_LEAD, endpoint, replica, round(LEAD_S * 1_000)))

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        await self._db.execute(_HAND_OVER, endpoint, replica)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        rows, identity = await self._owed(_DEBTS, endpoint, int(after or 0), limit)
        page = [_debt(row, identity) for row in rows]
        return page, str(rows[-1]["channel_id"]) if len(rows) == limit else None

    async def owed(self, endpoint: str) -> int:
        return int(await self._db.fetchval(_COUNT, endpoint))

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        async with deadline():
            return await self._move(endpoint, channel, delivered, to)

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        async with deadline():
            return await self._move(endpoint, letter.channel, delivered, to, letter)

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        above = 0 if after is None else _number(after)
        if above is None:
            raise BadRequest("after: expected the id of a dead letter", details={"field": "after"})
        return list(map(_letter, await self._db.fetch(_LETTERS, endpoint, above, limit)))

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        wanted = [number for id in ids if (number := _number(id)) is not None]
        return list(map(_letter, await self._db.fetch(_TAKE, endpoint, wanted)))

    async def _move(
        self, endpoint: str, channel: ChannelName, delivered: Position, to: Position, letter: DeadLetter | None = None
    ) -> bool:
        buried: tuple[object, ...] = (None,) * 5
        if letter is not None:
            buried = (letter.epoch, letter.first, letter.last, letter.reason.encode(), letter.failed_at)
        for _ in range(TRIES):
            rows, identity = await self._owed(_DEBT, endpoint, channel)
            if not rows or _debt(rows[0], identity).delivered != delivered:
                return False
            (row,) = rows
            if to.epoch != epoch_of(identity.key, channel, row["now_losses"]):
                return False
            now, was = (identity.timeline, row["now_losses"]), (row["delivered"], row["timeline"], row["losses"])
            moved: bool | None = await self._db.fetchval(
                _MOVE, endpoint, channel, *now, *was, to.offset, *buried, self._dead_letters
            )
            if moved is not None:
                return moved
        return False

    async def _owed(self, sql: str, *arguments: object) -> tuple[Sequence[Record], Identity]:
        """Return rows of debts, and the identity of the database that they are from."""
        db = self._db

        async def work(connection: Connection) -> tuple[Sequence[Record], Identity]:
            rows = await connection.fetch(sql, *arguments)
            if rows:
                db.check(rows[0]["life"])
            assert db.identity is not None
            return rows, db.identity

        return await db.run(work)


def _debt(row: Record, identity: Identity) -> Debt:
    channel = ChannelName(row["name"])

    def place(offset: int, timeline: int, losses: int) -> Position:
        return Position(epoch_of(identity._replace(timeline=timeline).key, channel, losses), offset)

    begins = None
    if row["begins"] is not None:
        begins = place(row["begins"], row["begins_timeline"], row["begins_losses"])
    return Debt(channel, place(row["delivered"], row["timeline"], row["losses"]), begins)


def _number(id: str) -> int | None:
    """Return the id of a letter; None if it is none."""
    return int(id) if id.isascii() and id.isdecimal() and len(id) < 19 else None  # noqa: PLR2004  # digits of 63 bits


def _letter(row: Record) -> DeadLetter:
    return DeadLetter(
        str(row["id"]),
        ChannelName(row["channel"]),
        row["epoch"],
        row["first"],
        row["last"],
        row["reason"].decode(),
        row["failed_at"],
    )
