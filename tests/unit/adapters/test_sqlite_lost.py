"""The files of a SQLite log are removed, replaced, moved or cut short under the running log: it takes nothing more."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.opened_file import GLANCE_S
from server.domain.errors import Unavailable
from tests.doubles.samples import ROOM, new_message
from tests.harness.waiting import polled
from tests.unit.adapters.sqlite_cases import DEADLINE_S, log_at, outcome, recovered

ENDINGS = ("", "-wal", "-shm")


def remove(path: Path) -> None:
    """Remove all files of the log."""
    for ending in ENDINGS:
        path.with_name(path.name + ending).unlink()


def remove_wal(path: Path) -> None:
    """Remove the WAL alone."""
    path.with_name(path.name + "-wal").unlink()


def replace(path: Path) -> None:
    """Put a copy into the place of the file, as a restore of a backup does."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def rename_folder(path: Path) -> None:
    """Rename the folder of the file."""
    path.parent.rename(path.parent.with_name("moved"))


async def told(logs: list[EventDict], lines: int) -> list[str]:
    """Wait until this many lines are logged, and return their names."""
    await polled(lambda: len(logs) >= lines, DEADLINE_S, lambda: f"{logs}")
    return [entry["event"] for entry in logs]


async def refuses_to_read(log: SqliteMessageLog) -> None:
    """Reads, heads and pages are `Unavailable`."""
    for reading in (log.read(ROOM, 0, 10), log.heads([ROOM]), log.history(ROOM, None, None, 10)):
        with pytest.raises(Unavailable):
            await reading


@pytest.mark.parametrize("harm", [remove, remove_wal, replace, rename_folder])
async def test_a_lost_file_is_told_once_and_takes_nothing(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """An idle log notices; then appends and reads are `Unavailable`, and no new file is made."""
    path = tmp_path / "log" / "maru.db"
    with capture_logs() as logs:
        async with log_at(path) as log:
            await log.append(new_message(1))
            await log.read(ROOM, 0, 10)
            await asyncio.to_thread(harm, path)
            before = sorted(tmp_path.rglob("*"))
            assert await told(logs, 1) == ["message_log.unavailable"]
            assert [await outcome(log, number) for number in range(2, 5)] == [Unavailable] * 3
            await refuses_to_read(log)
            assert sorted(tmp_path.rglob("*")) == before
    assert [entry["event"] for entry in logs] == ["message_log.unavailable"]


async def test_an_append_notices_sooner_than_the_next_look(tmp_path: Path) -> None:
    """Under load, appends are refused some 50 ms after the file has gone."""
    path = tmp_path / "maru.db"
    loop = asyncio.get_running_loop()
    async with log_at(path) as log:
        await log.append(new_message(1))
        remove(path)
        gone_at, last_ack, number = loop.time(), 0.0, 2
        async with asyncio.timeout(DEADLINE_S):
            while await outcome(log, number) is not Unavailable:
                last_ack, number = loop.time(), number + 1
    assert last_ack < gone_at + 10 * GLANCE_S  # a margin for a busy machine; the next look is up to 1 s away


async def test_put_back_the_same_file_is_used_again(tmp_path: Path) -> None:
    """A folder that is moved away and back has every event, and takes new ones; another copy stays refused."""
    path = tmp_path / "log" / "maru.db"
    with capture_logs() as logs:
        async with log_at(path) as log:
            await log.append(new_message(1))
            rename_folder(path)
            await told(logs, 1)
            path.parent.mkdir()
            path.write_bytes((tmp_path / "moved" / "maru.db").read_bytes())
            assert await outcome(log, 2) is Unavailable
            path.unlink()
            path.parent.rmdir()
            (tmp_path / "moved").rename(path.parent)
            assert (await recovered(log, 3)).event.offset == 2
            assert [event.offset for event in (await log.read(ROOM, 0, 10)).events] == [1, 2]
            assert await told(logs, 2) == ["message_log.unavailable", "message_log.available"]
    async with log_at(path) as log:
        assert (await log.read(ROOM, 0, 10)).head.offset == 2


@pytest.mark.parametrize("size", [0, 1_000, 8_192])
async def test_a_file_cut_short_is_unavailable(tmp_path: Path, size: int) -> None:
    """The process lives, says so once, and acks nothing into the rest of the file."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        await asyncio.gather(*(log.append(new_message(number, text="x" * 1_000)) for number in range(50)))
    with capture_logs() as logs:
        async with log_at(path) as log:
            await log.append(new_message(100))
            os.truncate(path, size)
            assert [await outcome(log, number) for number in range(101, 104)] == [Unavailable] * 3
    assert [entry["event"] for entry in logs] == ["message_log.unavailable"]
