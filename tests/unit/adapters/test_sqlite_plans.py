"""The statements of a SQLite log use its indexes: none reads the table of events from end to end."""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from server.adapters.sqlite import connection, database, reader_threads
from server.adapters.sqlite.leftovers import _STALE
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.bootstrap.stores.sqlite import open_people
from server.domain.drafts import Deletion, Reaction, Record, Revision
from server.domain.identity import Author, UserId
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import DEADLINE_S

TABLES = re.compile(r" (events|follows|" + "|".join(_STALE) + r") ")
"""Tables that grow with the work."""

SCANNED = re.compile(r"SCAN (events|follows|[emprgtx]|creation|change|" + "|".join({*_STALE} - {"gone"}) + r")( |$)")
"""Their names and aliases in a plan; `gone` is a list of values in another statement."""

NEWEST = "ORDER BY n DESC LIMIT 1"
"""The end of the statement that looks at a single event, the newest: it may begin a scan."""


def traced(opened: Callable[[Path], sqlite3.Connection], statements: set[str]) -> Callable[[Path], sqlite3.Connection]:
    """Open connections that put their statements into the set."""

    def opened_traced(path: Path) -> sqlite3.Connection:
        db = opened(path)
        db.set_trace_callback(statements.add)
        return db

    return opened_traced


async def use(path: Path) -> None:
    """Let a log do everything that it can do."""
    clock = Clock()
    log = SqliteMessageLog(
        path, max_events=5, max_age_ms=HOUR_MS, now_ms=clock, monotonic_ms=clock, sweep_interval_s=0.01
    )
    async with log:
        drafts = [new_message(number, key=f"k{number}") for number in range(8)]
        await asyncio.gather(*map(log.append, drafts))
        await log.append(replace(drafts[7], id=some_id(99)))
        for text in ("one", "two"):
            await log.append(Revision(ROOM, some_id(7), text, None, keep_data=True, at=NOW_MS))
        await log.append(Deletion(ROOM, some_id(7), NOW_MS))
        await log.read(ROOM, 5, 10)
        await log.message(ROOM, some_id(7))
        await log.history(ROOM, None, None, 10)
        await log.history(ROOM, None, 5, 10)
        await log.heads([ROOM])
        await use_people(log)
        clock.now += 2 * HOUR_MS
        async with asyncio.timeout(DEADLINE_S):
            while (await log.read(ROOM, 0, 0)).floor < 11:  # the sweep drops all events
                pass


async def use_people(log: SqliteMessageLog) -> None:
    """The same for what is about people and applications."""
    reactions, records, marks, follows = open_people(log)
    alice, bob = UserId("alice"), UserId("bob")
    await log.append(replace(new_message(20), mentions=(bob,)))
    for user in (alice, bob):
        await reactions.react(Reaction(ROOM, some_id(20), "👍", user, True, NOW_MS))
    await reactions.react(Reaction(ROOM, some_id(20), "👍", alice, False, NOW_MS))
    for key in ("k", "k", None):
        await records.record(Record(ROOM, "n", Author(bob, None), 1, key, NOW_MS))
    for name in ("n", None):
        await records.page(ROOM, name, None, None, 10)
        await records.page(ROOM, name, None, 5, 10)
    await marks.mark(ROOM, bob, 3)
    await marks.inbox(bob, [ROOM])
    await marks.receipts(ROOM, 10)
    await follows.follow(bob, ROOM)
    await follows.followed(bob)
    await follows.followers(ROOM, 10)
    await follows.unfollow(bob, ROOM)
    await log.append(new_message(21))
    await reactions.react(Reaction(ROOM, some_id(21), "👍", bob, True, NOW_MS))
    await log.append(Deletion(ROOM, some_id(21), NOW_MS))


async def test_no_statement_reads_all_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event and each channel's range of events is found by an index, for reading, writing and ageing."""
    path = tmp_path / "maru.db"
    statements: set[str] = set()
    monkeypatch.setattr(connection, "open_writer", traced(database.open_writer, statements))
    monkeypatch.setattr(reader_threads, "open_reader", traced(database.open_reader, statements))
    await use(path)
    seen = [sql for sql in statements if TABLES.search(sql) and NEWEST not in sql]
    assert len(seen) > 40
    for table in ("events", *_STALE, "follows"):
        assert any(f" {table} " in sql for sql in seen), table
    with closing(sqlite3.connect(path)) as db:
        for sql in seen:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
            scanned = [step for step in plan if SCANNED.match(step)]
            assert not scanned, sql
