"""Deleted messages of a SQLite log: their text is in no file, also if an earlier version deleted them."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from server.adapters.clock import now_ms
from server.adapters.codec import encode_event
from server.adapters.sqlite import database, sweep, wal
from server.adapters.sqlite.batch import Batch
from server.adapters.sqlite.channels import Channels
from server.adapters.sqlite.database import APPLICATION_ID, SCHEMA_VERSION, LogUnusable, open_writer, prepare
from server.adapters.sqlite.erasing import STEP_EDITS
from server.domain.appending import Appended, created, revised
from server.domain.drafts import Deletion, Draft, Revision
from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, MessageErased, MessageEvent, erased
from server.domain.messages import Message, Position, Tombstone
from server.domain.retention import Retention
from tests.doubles.samples import NOW_MS, ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import DEADLINE_S, log_at

SECRETS = [b"first secret", b"second secret", b"secret data"]
SCHEMA_1 = Path(__file__).with_name("sqlite_schema_1.sql")

SECRET = replace(new_message(1, key="k", text="first secret"), data={"x": "secret data"})
EDIT = Revision(ROOM, some_id(1), "second secret", None, keep_data=True, at=NOW_MS + 5)
DELETION = Deletion(ROOM, some_id(1), NOW_MS + 6)


def found(path: Path) -> list[bytes]:
    """The secrets that stand in the log's files."""
    contents = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return [secret for secret in SECRETS if secret in contents]


async def gone(path: Path) -> None:
    """Wait until no secret stands in the log's files."""
    async with asyncio.timeout(DEADLINE_S):
        while await asyncio.to_thread(found, path):
            pass


async def test_a_deletion_takes_the_text_out_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the file, the WAL and its index, while the server runs, although nothing else is written."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(wal, "ERASE_WITHIN_S", 0.1)
    async with log_at(path) as log:
        for draft in (new_message(0), SECRET, EDIT, new_message(2)):
            await log.append(draft)
        assert found(path) == SECRETS
        await log.append(DELETION)
        await gone(path)
        assert isinstance(await log.message(ROOM, some_id(2)), Message)


async def test_a_reader_delays_the_end_of_the_text_and_no_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a backup reads, the WAL can't be emptied; once it is done, the text goes."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(wal, "ERASE_WITHIN_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as backup:
        async with log_at(path) as log:
            await log.append(SECRET)
            backup.execute("BEGIN")
            backup.execute("SELECT count(*) FROM events").fetchone()
            await log.append(DELETION)
            for number in range(2, 20):
                await log.append(new_message(number))
            assert found(path) != []
            backup.execute("COMMIT")
            await gone(path)


async def test_all_in_one_transaction(tmp_path: Path) -> None:
    """A message that is written, edited and deleted by the same transaction, and repeated by key, is erased."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        drafts: list[Draft] = [SECRET, EDIT, DELETION, replace(SECRET, id=some_id(9))]
        results = await asyncio.gather(*(log.append(draft) for draft in drafts))
        replay = await log.read(ROOM, 0, 10)
    assert [type(event) for event in replay.events] == [MessageErased, MessageErased, MessageDeleted]
    assert results[3] == Appended(replay.events[0], duplicate=True)  # type: ignore[arg-type]


async def test_a_message_with_very_many_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deletion erases some of them. The others are erased in steps, also after a restart; reads show none."""
    path = tmp_path / "maru.db"
    edits = 3 * STEP_EDITS + 10
    with closing_log(path) as db:
        write(db, [SECRET, new_message(2), *[EDIT] * edits])
        write(db, [DELETION])
        assert left(db) == edits - STEP_EDITS
    monkeypatch.setattr(sweep, "PACE_S", 0.3)
    monkeypatch.setattr(wal, "ERASE_WITHIN_S", 0.1)
    async with log_at(path) as log:
        events = (await log.read(ROOM, 0, edits + 3)).events
        assert b"second secret" in found(path)
        kinds = [MessageErased, MessageCreated, *[MessageErased] * edits, MessageDeleted]
        assert [type(event) for event in events] == kinds
        await gone(path)
        assert (await log.read(ROOM, 0, edits + 3)).events == events
    with closing_log(path) as db:
        assert left(db) == left(db, "erasing") == 0


@contextmanager
def closing_log(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the log's file, which is made if it is missing."""
    prepare(path)
    with closing(open_writer(path)) as db:
        yield db


def write(db: sqlite3.Connection, drafts: list[Draft]) -> None:
    """Write drafts in a transaction, without a log that sweeps."""
    db.execute("BEGIN")
    Batch(db, Channels(b"store"), now_ms(), Retention(10**6, 1)).run(drafts)
    db.execute("COMMIT")


def left(db: sqlite3.Connection, table: str = "events WHERE edit_of IS NOT NULL") -> int:
    """How many edits are not erased."""
    (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # a table's name
    return int(count)


async def test_what_can_not_be_read_is_erased_too(tmp_path: Path) -> None:
    """A damaged event of a deleted message must not keep its text."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        await log.append(SECRET)
        for text in ("second secret", "third"):
            await log.append(replace(EDIT, text=text))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE events SET payload = 'garbage, first secret' WHERE offset = 2")
    async with log_at(path) as log:
        await log.append(DELETION)
        assert [type(event) for event in (await log.read(ROOM, 0, 3)).events] == [MessageErased] * 3


async def test_the_channels_of_an_author(tmp_path: Path) -> None:
    """Are listed once each, over restarts."""
    path = tmp_path / "maru.db"
    for start in (0, 10):
        async with log_at(path) as log:
            await asyncio.gather(*(log.append(new_message(n, user=f"u{n % 2}")) for n in range(start, start + 4)))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT author, channel_id FROM authors").fetchall() == [("u0", 1), ("u1", 1)]


def version_1(path: Path, events: Iterable[MessageEvent]) -> None:
    """Make a file as the first version wrote it, with a channel that has these events."""
    rows, states = [], {}
    for event in events:
        id = event.message.id if isinstance(event, MessageCreated | MessageEdited) else event.id
        created_id = id if isinstance(event, MessageCreated) else None
        rows.append((1, event.offset, now_ms(), created_id, encode_event(event)))
        states[id] = event.offset
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; {SCHEMA_1.read_text()}")
        db.execute("INSERT INTO channels VALUES (1, ?, 'e', ?, 0)", (ROOM, len(rows)))
        db.executemany(
            "INSERT INTO events (channel_id, offset, written_at, message_id, payload) VALUES (?, ?, ?, ?, ?)", rows
        )
        for message_id, offset in states.items():
            db.execute("UPDATE events SET state_offset = ? WHERE message_id = ?", (offset, message_id))
        db.commit()


async def test_a_file_of_version_1(tmp_path: Path) -> None:
    """Keeps every event and state, but for the texts of messages that were deleted: they go from the file."""
    path = tmp_path / "maru.db"
    first, other = created(SECRET, Position("e", 1)), created(new_message(2), Position("e", 2))
    edited = [
        MessageEdited(ROOM, "e", offset, NOW_MS, revised(creation.message, EDIT))
        for offset, creation in ((3, first), (5, other))
    ]
    deleted = MessageDeleted(ROOM, "e", 4, NOW_MS, some_id(1))
    version_1(path, [first, other, edited[0], deleted, edited[1]])
    async with log_at(path) as log:
        events = (await log.read(ROOM, 0, 10)).events
        assert events == [erased(first), other, erased(edited[0]), deleted, edited[1]]
        page = await log.history(ROOM, None, None, 10)
        assert page.messages == [Tombstone(some_id(1), ROOM, 1), edited[1].message]
        # Edits of the earlier version are found by a deletion of this one.
        await log.append(Deletion(ROOM, some_id(2), NOW_MS))
        assert isinstance((await log.read(ROOM, 4, 1)).events[0], MessageErased)
    assert found(path) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("SELECT author, channel_id FROM authors").fetchall() == [("alice", 1)]
        migrated = schema(db)
    prepare(tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "new.db")) as db:
        assert migrated == schema(db)


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of version 1 stays one if a step towards the next version fails, and gets there with the next start."""
    path = tmp_path / "maru.db"
    first = created(new_message(1), Position("e", 1))
    version_1(path, [first])

    def without_drops(path: Path) -> sqlite3.Connection:
        db = open_writer(path)
        db.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_DROP_TABLE else sqlite3.SQLITE_OK
        )
        return db

    with monkeypatch.context() as patch, closing(sqlite3.connect(path)) as db:
        before = schema(db)
        patch.setattr(database, "open_writer", without_drops)
        with pytest.raises(LogUnusable, match="not authorized"):
            prepare(path)
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert schema(db) == before
    async with log_at(path) as log:
        assert (await log.read(ROOM, 0, 10)).events == [first]


def schema(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """The tables and indexes with their columns."""
    return set(
        db.execute(
            "SELECT m.name, m.type, (SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(m.name)"
            " ORDER BY name)) FROM sqlite_master m"
        )
    )
