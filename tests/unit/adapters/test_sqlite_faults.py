"""A SQLite log under real faults: killed, starved of room, locked, damaged, failed."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.adapters.sqlite import database
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.opened_file import OpenedFile
from server.adapters.sqlite.reader_threads import Query, ReaderThreads
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft
from server.domain.errors import Conflict, NotFound, Unavailable
from server.domain.events import MessageCreated
from server.ports.message_log import Replay
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import DEADLINE_S, log_at, outcome, recovered

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("sqlite_child.py")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

PROMPT_S = 2.5
"""The 2 s of the port, and a margin for a busy machine."""


def killed_while_appending(path: Path, lines: int) -> list[str]:
    """Run the child until it has acknowledged this many events, kill it, and return every acknowledged event."""
    with subprocess.Popen([sys.executable, CHILD, "kill", path], env=ENVIRONMENT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        acked = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acked += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().strip() for line in acked if line.endswith(b"\n")]


def starved(path: Path) -> list[str]:
    """The output of a child whose file can't grow."""
    command = [sys.executable, str(CHILD), "starve", str(path)]
    child = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    return child.stdout.splitlines()


async def test_killed_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Three times `kill -9` in the middle of it: every acknowledged event is there, once, at its offset, densely."""
    path = tmp_path / "maru.db"
    acked: list[str] = []
    for _ in range(3):
        acked += await asyncio.to_thread(killed_while_appending, path, 300)
    async with log_at(path) as log:
        events = (await log.read(ROOM, 0, 1_000_000)).events
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    stored = [f"{e.offset} {e.message.key}" for e in events if isinstance(e, MessageCreated)]
    assert len({line.split()[1] for line in stored}) == len(stored) == len(events)
    assert len(acked) >= 900
    assert set(acked) <= set(stored)


async def test_without_room_it_is_unavailable_and_recovers(tmp_path: Path) -> None:
    """Appends are refused while the file can't grow, are taken again once it can, and nothing acknowledged is lost."""
    path = tmp_path / "maru.db"
    told_lines = await asyncio.to_thread(starved, path)
    told = json.loads(told_lines[-1])
    assert told["last"] == ["OperationalError"] * 20
    assert told["later"] == [""] * 10
    assert "message_log.available" in told_lines[-2]
    async with log_at(path) as log:
        events = (await log.read(ROOM, 0, 10_000)).events
    assert [event.offset for event in events] == told["acked"] == list(range(1, len(told["acked"]) + 1))


async def test_locked_it_is_unavailable_in_time_and_recovers(tmp_path: Path) -> None:
    """While another program holds the lock, appends fail within 2 s and reads go on; then all is well again."""
    path = tmp_path / "maru.db"
    with capture_logs() as logs, closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with log_at(path) as log:
            await log.append(new_message(1))
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            results = await asyncio.gather(*(outcome(log, number) for number in range(2, 50)))
            assert set(results) == {Unavailable}
            assert time.monotonic() - started < PROMPT_S
            assert (await log.read(ROOM, 0, 10)).head.offset == 1
            other.execute("ROLLBACK")
            await recovered(log, 2)
            events = (await log.read(ROOM, 0, 100)).events
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert len({event.message.id for event in events if isinstance(event, MessageCreated)}) == len(events)
    assert [entry["event"] for entry in logs] == ["message_log.unavailable", "message_log.available"]


async def test_a_draft_that_can_not_be_encoded_fails_alone(tmp_path: Path) -> None:
    """Among others in one transaction, only the one with a lone surrogate (or no JSON at all) fails."""
    async with log_at(tmp_path / "maru.db") as log:
        drafts = [
            new_message(1),
            new_message(2, text="\ud800"),
            new_message(3, key="\ud800"),
            new_message(4, user="\ud800"),
            new_message(5),
        ]
        results = await asyncio.gather(*(log.append(draft) for draft in drafts), return_exceptions=True)
        good, bad = results[::4], results[1:4]
        assert [one.event.offset for one in good if isinstance(one, Appended)] == [1, 2]
        assert all(isinstance(one, (TypeError, ValueError)) for one in bad)
        with pytest.raises(NotFound):
            await log.append(Deletion(ROOM, some_id(2), NOW_MS))


async def test_a_taken_id_fails_alone(tmp_path: Path) -> None:
    """Among others in one transaction, only the one whose id is another message's is a conflict: in an earlier
    transaction or in the same one, and whatever else the transaction does."""
    async with log_at(tmp_path / "maru.db") as log:
        await log.append(new_message(1))
        drafts: list[Draft] = [
            new_message(2, key="k"),
            new_message(1, text="again"),
            new_message(3),
            new_message(3, text="again"),
            Deletion(ROOM, some_id(1), NOW_MS),
            new_message(4, key="k"),
        ]
        results = await asyncio.gather(*(log.append(draft) for draft in drafts), return_exceptions=True)
        assert [type(result) for result in results] == [Appended, Conflict, Appended, Conflict, Appended, Appended]
        assert [result.event.offset for result in results if isinstance(result, Appended)] == [2, 3, 4, 2]
        assert (await log.read(ROOM, 0, 0)).head.offset == 4


async def test_damage_under_a_running_server_is_unavailable(tmp_path: Path) -> None:
    """Reads of destroyed pages fail clearly, and are told once in the log; other reads go on."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        await asyncio.gather(*(log.append(new_message(number, text="x" * 1_000)) for number in range(300)))
    size = path.stat().st_size
    async with log_at(path) as log:
        with path.open("r+b", buffering=0) as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(b"\xa5" * 8 * 4096)
            os.fsync(file.fileno())
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(Unavailable) as caught:
                    await log.read(ROOM, 0, 1_000)
                assert caught.value.__cause__ is not None
        assert [entry["event"] for entry in logs] == ["message_log.unreadable"]
        assert (await log.read(ROOM, 0, 0)).head.offset == 300


async def test_what_can_not_be_read_fails_alone(tmp_path: Path) -> None:
    """If one event's bytes are destroyed, the calls that need them are `Unavailable`; everything else goes on."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        for number in (1, 2):
            await log.append(new_message(number, key=f"k{number}"))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE events SET payload = 'garbage' WHERE offset = 1")
    async with log_at(path) as log:
        drafts: list[Draft] = [
            Deletion(ROOM, some_id(1), NOW_MS),
            new_message(3, key="k1"),
            Deletion(ROOM, some_id(2), NOW_MS),
            new_message(4),
        ]
        results = await asyncio.gather(*(log.append(draft) for draft in drafts), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable, Unavailable, Appended, Appended]
        with pytest.raises(Unavailable):
            await log.read(ROOM, 0, 10)
        assert len((await log.read(ROOM, 1, 10)).events) == 3


async def test_reads_that_share_a_job_share_no_fault(tmp_path: Path) -> None:
    """Many reads of a moment, of a channel each: a channel that can't be read costs its own read, and a caller that
    leaves costs nobody anything."""
    path = tmp_path / "maru.db"
    rooms = [ChannelName(f"room:{number}") for number in range(30)]
    async with log_at(path) as log:
        written = [(await log.append(new_message(number, room))).event for number, room in enumerate(rooms)]
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE events SET payload = 'garbage' WHERE message_id = ?", (some_id(3),))
        reads = [asyncio.ensure_future(log.read(room, 0, 10)) for room in rooms]
        await asyncio.sleep(0)
        reads[5].cancel()
        results = await asyncio.gather(*reads, return_exceptions=True)
    assert isinstance(results.pop(5), asyncio.CancelledError)
    assert isinstance(results.pop(3), Unavailable)
    assert [result.events for result in results if isinstance(result, Replay)] == [
        [event] for number, event in enumerate(written) if number not in {3, 5}
    ]


async def test_reads_that_wait_for_a_thread_are_told_of_the_end(tmp_path: Path) -> None:
    """A log that is closed in the moment of a read answers it all the same."""
    threads = ReaderThreads(OpenedFile(tmp_path / "maru.db"))
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    threads.run_together(Query("SELECT 1", (), lambda row: row, answer))
    threads.stop()
    with pytest.raises(Unavailable):
        await answer
    assert threads.pending == 0


async def test_a_sweep_that_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle log notices that its file is locked, and that it is free again."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    log = SqliteMessageLog(path, max_events=10, max_age_ms=HOUR_MS, sweep_interval_s=0.05)
    with capture_logs() as logs, closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with log, asyncio.timeout(DEADLINE_S):
            other.execute("BEGIN IMMEDIATE")
            while not logs:
                await log.read(ROOM, 0, 0)
            other.execute("ROLLBACK")
            while len(logs) < 2:
                await log.read(ROOM, 0, 0)
    assert [entry["event"] for entry in logs] == ["message_log.unavailable", "message_log.available"]


async def test_once_closed_it_is_unavailable(tmp_path: Path) -> None:
    """Appends and reads fail at once. The drafts that waited at the close have been written."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        waiting = [asyncio.create_task(outcome(log, number)) for number in range(1_000)]
        await asyncio.sleep(0)
    assert all(isinstance(result, Appended) for result in await asyncio.gather(*waiting))
    with pytest.raises(Unavailable):
        await log.append(new_message(1))
    with pytest.raises(Unavailable):
        await log.read(ROOM, 0, 1)


async def test_a_failed_writer_acknowledges_nothing(tmp_path: Path) -> None:
    """A fault of the program in the writer's thread is told once, loudly; every append fails from then on."""

    def broken_clock() -> int:
        raise RuntimeError("no time")

    log = SqliteMessageLog(tmp_path / "maru.db", max_events=10, max_age_ms=10, now_ms=broken_clock)
    with capture_logs() as logs:
        async with log:
            results = [await outcome_of_fault(log, number) for number in range(3)]
    assert results[1:] == [Unavailable, Unavailable]
    assert [entry["event"] for entry in logs] == ["message_log.writer_failed"]


async def outcome_of_fault(log: SqliteMessageLog, number: int) -> object:
    """The kind of failure; before the writer has noticed, it may be the fault itself."""
    try:
        return await log.append(new_message(number))
    except Exception as error:  # noqa: BLE001
        return type(error)
