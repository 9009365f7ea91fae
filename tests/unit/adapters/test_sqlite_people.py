"""What a SQLite log keeps of people, over upgrades and faults."""

import asyncio
import gzip
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.adapters.sqlite import database
from server.adapters.sqlite.growth import Growth
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.bootstrap.stores.sqlite import open_people
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Reaction, Record
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import Author, UserId
from server.domain.messages import Message
from server.domain.reactions import Reacted
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import DEADLINE_S, log_at

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("sqlite_child.py")
FORMER = Path(__file__).with_name("sqlite_schema_4.db.gz")
"""A file that the former version wrote. room:1: messages 1 to 8, of which 2 was edited, 3 edited and deleted, 8
deleted; room:2: three messages; room:3: 301 messages, without the 21 that retention has dropped. An endpoint of
webhooks is owed all."""

ALICE, BOB = UserId("alice"), UserId("bob")
STATEMENTS = (1, 8, 14, 15, 16)
"""Of the migration: the process is killed before them, between the tables, and between the steps that fill them."""


def like(number: int, user: UserId = ALICE, *, add: bool = True) -> Reaction:
    """A reaction to the message with this number."""
    return Reaction(ROOM, some_id(number), "👍", user, add, NOW_MS)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The file of the former version."""
    path = tmp_path / "maru.db"
    path.write_bytes(gzip.decompress(FORMER.read_bytes()))
    return path


def killed(mode: str, path: Path, *arguments: str) -> None:
    """Run a child that kills itself."""
    command = [sys.executable, str(CHILD), mode, str(path), *arguments]
    child = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL


def schema(path: Path) -> dict[str, str]:
    """The tables and indexes of a file, by name, without the layout of their text."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: "".join(sql.split()).replace('"', "") for name, sql in rows}


async def check_former(path: Path) -> None:
    """Assert that all of the former version is there, and counts."""
    one, two, three = (ChannelName(f"room:{number}") for number in (1, 2, 3))
    async with log_at(path) as log:
        _, _, marks, _ = open_people(log)
        page = await log.history(one, None, None, 10)
        assert [type(each).__name__ for each in page.messages].count("Message") == 6
        assert page.messages[1].text == "edited"  # type: ignore[union-attr]
        assert (await log.append(new_message(1, one, key="k1"))).duplicate
        found = await marks.marks(BOB, [one, two, three])
        assert [(each.offset, each.unread, each.head.offset) for each in found.values()] == [
            (0, 6, 12),
            (0, 3, 3),
            (0, 280, 301),
        ]
        for offset, unread in ((22, 279), (276, 25), (277, 24), (278, 23), (301, 0)):
            assert (await marks.mark(three, BOB, offset)).mark.unread == unread
        assert (await marks.mark(one, BOB, 4)).mark.unread == 3
        await log.append(Deletion(one, some_id(5), NOW_MS))
        await log.append(replace(new_message(50, one), mentions=(BOB,)))
        assert (await marks.marks(BOB, [one]))[one].unread == 3
        inbox = await marks.inbox(BOB, [one])
        assert (inbox[0].mark.unread_mentions, inbox[0].last_at) == (1, NOW_MS + 50)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM webhook_debts").fetchone() == (3,)
        assert db.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION,)


async def test_a_file_of_the_former_version_goes_on(former: Path, tmp_path: Path) -> None:
    """Its messages, keys and debts are there, its deletions count, and its schema is that of a new file."""
    await check_former(former)
    fresh = tmp_path / "fresh.db"
    async with log_at(fresh):
        pass
    assert schema(former) == schema(fresh)


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_migration_that_is_killed_begins_anew(former: Path, statement: int) -> None:
    """The file is that of the former version, until all is done."""
    await asyncio.to_thread(killed, "migrate", former, str(statement))
    with closing(sqlite3.connect(former)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name IN ('reads', 'reactions')").fetchall()
    await check_former(former)


async def test_no_kill_comes_between_a_reaction_and_its_event(tmp_path: Path) -> None:
    """Both are there, or neither is."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        await log.append(new_message(1))
    await asyncio.to_thread(killed, "react", path)
    async with log_at(path) as log:
        message = await log.message(ROOM, some_id(1))
        assert isinstance(message, Message)
        assert message.reactions == (Reacted("👍", 1, (ALICE,)),)
        assert (await log.read(ROOM, 0, 0)).head.offset == 2


async def test_a_fault_leaves_neither_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaction, a mark and a record whose transaction fails are `Unavailable` and not there; again, they are."""
    async with log_at(tmp_path / "maru.db") as log:
        reactions, records, marks, _ = open_people(log)
        await log.append(new_message(1))
        save = Growth.save

        def fail(growth: Growth) -> None:
            save(growth)
            raise sqlite3.OperationalError("injected")

        record = Record(ROOM, "n", Author(BOB, None), None, "k", NOW_MS)
        with monkeypatch.context() as fault:
            fault.setattr(Growth, "save", fail)
            outcomes = await asyncio.gather(
                reactions.react(like(1)), marks.mark(ROOM, BOB, 1), records.record(record), return_exceptions=True
            )
            assert [type(each) for each in outcomes] == [Unavailable] * 3
        assert (await log.read(ROOM, 0, 0)).head.offset == 1
        assert (await marks.marks(BOB, [ROOM]))[ROOM].offset == 0
        async with asyncio.timeout(DEADLINE_S):
            assert not (await reactions.react(like(1))).duplicate
        assert (await marks.mark(ROOM, BOB, 1)).moved
        assert not (await records.record(record)).duplicate


async def test_entries_of_all_kinds_share_a_transaction(tmp_path: Path) -> None:
    """What is given at once is written in the order of the calls: each entry finds those before it."""
    async with log_at(tmp_path / "maru.db") as log:
        reactions, records, marks, follows = open_people(log)
        outcomes: list[Any] = await asyncio.gather(
            log.append(new_message(1)),
            reactions.react(like(1)),
            records.record(Record(ROOM, "n", Author(BOB, None), None, None, NOW_MS)),
            marks.mark(ROOM, BOB, 99),
            follows.follow(UserId("carol"), ROOM),
            log.append(Deletion(ROOM, some_id(1), NOW_MS)),
            reactions.react(like(1, BOB)),
            return_exceptions=True,
        )
        sent, liked, recorded, moved, followed, deleted, refused = outcomes
        assert [sent.event.offset, liked.position.offset, recorded.event.offset] == [1, 2, 3]
        assert (moved.moved, followed, deleted.event.offset) == (True, True, 4)
        assert type(refused).__name__ == "Conflict"
        found = {user: (await marks.marks(UserId(user), [ROOM]))[ROOM].offset for user in ("alice", "bob", "carol")}
        assert found == {"alice": 1, "bob": 4, "carol": 4}


async def test_retention_leaves_nothing(tmp_path: Path) -> None:
    """Once all events have gone by age, no table has a row about them; marks go with the last event."""
    clock = Clock()
    path = tmp_path / "maru.db"
    log = SqliteMessageLog(
        path, max_events=1_000, max_age_ms=HOUR_MS, now_ms=clock, monotonic_ms=clock, sweep_interval_s=0.01
    )
    async with log:
        reactions, records, marks, _ = open_people(log)
        drafts = (replace(new_message(number), mentions=(BOB,)) for number in range(1, 301))
        await asyncio.gather(*map(log.append, drafts))
        await asyncio.gather(*(reactions.react(like(number)) for number in range(1, 21)))
        await records.record(Record(ROOM, "n", Author(BOB, None), None, None, NOW_MS))
        await log.append(Deletion(ROOM, some_id(7), NOW_MS))
        await marks.mark(ROOM, BOB, 9)
        assert all(count_rows(path).values())
        clock.now += 2 * HOUR_MS
        async with asyncio.timeout(DEADLINE_S):
            while any(count_rows(path).values()):
                await marks.receipts(ROOM, 1)
        mark = (await marks.marks(BOB, [ROOM]))[ROOM]
        assert (mark.offset, mark.unread, mark.unread_mentions) == (0, 0, 0)
        await log.append(replace(new_message(999), mentions=(BOB,)))
        mark = (await marks.marks(BOB, [ROOM]))[ROOM]
        assert (mark.unread, mark.unread_mentions) == (1, 1)


def count_rows(path: Path) -> dict[str, int]:
    """The rows of each table about messages."""
    tables = ("events", "posts", "gone", "mentions", "reactions", "reacted", "records", "reads")
    with closing(database.open_reader(path)) as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


async def test_a_full_log_takes_what_makes_it_smaller(tmp_path: Path) -> None:
    """Reactions, records, marks and follows are refused; a reaction and a follow may end."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        reactions, _, _, follows = open_people(log)
        await log.append(new_message(1))
        await reactions.react(like(1))
        await follows.follow(ALICE, ROOM)
    log = SqliteMessageLog(path, max_events=100, max_age_ms=10**12, max_bytes=1)
    async with log:
        reactions, records, marks, follows = open_people(log)
        outcomes = await asyncio.gather(
            reactions.react(like(1, BOB)),
            records.record(Record(ROOM, "n", Author(BOB, None), None, None, NOW_MS)),
            marks.mark(ROOM, BOB, 1),
            follows.follow(BOB, ROOM),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [Overloaded] * 4
        assert (await reactions.react(like(1, add=False))).event is not None
        assert await follows.unfollow(ALICE, ROOM)
        await log.append(Deletion(ROOM, some_id(1), NOW_MS))
