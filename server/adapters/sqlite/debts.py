"""The debts of channels to the endpoints of webhooks, written in the transaction of the append."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from server.adapters.sqlite.channels import Channel
from server.adapters.sqlite.rows import execute_rows
from server.domain.channels import ChannelName
from server.domain.dispatching import covers
from server.ports.webhooks import FORGOTTEN_S

REMEMBERED = 50_000
"""Channels that are known to owe everything already. Over this number all are forgotten, and written again."""

STEP_ROWS = 2_000
"""Debts to a forgotten endpoint that a transaction removes."""

STARTED = -1
"""In `starting`: the endpoint was given all debts that it begins with."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that is open. `starts`: it is being given all that the log keeps."""

    id: int
    patterns: Sequence[str]
    starts: bool


class Debts:
    """What the writer knows of debts as of the last commit, with the changes of the running transaction.

    Used by the writer's thread only. Call `forget` after every rollback, and after a change of the endpoints.
    """

    def __init__(self) -> None:
        self._endpoints: Sequence[Endpoint] | None = None  # that are open; None until they are read
        self._owing: set[int] = set()  # channels that owe something to every endpoint that is open for them

    def append(self, db: sqlite3.Connection, channels: Sequence[Channel], heads: Mapping[ChannelName, int]) -> None:
        """Owe the events behind these heads, in the transaction in which they are written."""
        endpoints = self._read(db) if self._endpoints is None else self._endpoints
        if not endpoints:
            return
        owing = self._owing
        new = [channel for channel in channels if channel.id not in owing]
        if not new:
            return
        rows = [
            (endpoint.id, channel.id, channel.floor if endpoint.starts else heads[channel.name])
            for channel in new
            for endpoint in endpoints
            if covers(endpoint.patterns, channel.name)
        ]
        execute_rows(db, "INSERT OR IGNORE INTO webhook_debts (endpoint_id, channel_id, delivered) VALUES {rows}", rows)
        if len(owing) > REMEMBERED:
            owing.clear()
        owing.update(channel.id for channel in new if channel.id is not None)

    def paid(self, channel_id: int) -> None:
        """Note that the channel owes nothing to an endpoint any more."""
        self._owing.discard(channel_id)

    def forget(self) -> None:
        """Look at the file again."""
        self._endpoints = None
        self._owing.clear()

    def _read(self, db: sqlite3.Connection) -> Sequence[Endpoint]:
        rows = db.execute("SELECT id, patterns, starting FROM webhook_endpoints").fetchall()
        self._endpoints = [Endpoint(id, orjson.loads(patterns), starting != STARTED) for id, patterns, starting in rows]
        return self._endpoints


def forget_old(db: sqlite3.Connection, now_ms: int) -> bool:
    """Forget, in steps, the endpoints that nobody has opened for long. Returns whether more is to do."""
    found = db.execute(
        "SELECT id, name FROM webhook_endpoints WHERE opened_at < ? LIMIT 1", (now_ms - FORGOTTEN_S * 1_000,)
    ).fetchone()
    if found is None:
        return False
    removed = db.execute(
        "DELETE FROM webhook_debts WHERE endpoint_id = ?1 AND channel_id IN ("
        "SELECT channel_id FROM webhook_debts WHERE endpoint_id = ?1 ORDER BY channel_id LIMIT ?2)",
        (found[0], STEP_ROWS),
    ).rowcount
    if removed < STEP_ROWS:
        db.execute("DELETE FROM webhook_letters WHERE endpoint = ?", (found[1],))
        db.execute("DELETE FROM webhook_endpoints WHERE id = ?", (found[0],))
    return True
