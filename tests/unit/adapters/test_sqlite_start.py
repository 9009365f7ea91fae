"""Opening a SQLite log: a file that can't be used is one clear error, and is left as it was."""

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.sqlite import database
from server.adapters.sqlite.database import LogUnusable
from server.domain.channels import ChannelName
from tests.doubles.samples import ROOM, new_message
from tests.unit.adapters.sqlite_cases import log_at

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("sqlite_child.py")


async def refusal(path: Path) -> str:
    """Why the log does not open: one line that names the path."""
    with pytest.raises(LogUnusable) as caught:
        async with log_at(path):
            pass
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


async def written(path: Path, messages: int = 300) -> None:
    """A closed log with some messages in it."""
    async with log_at(path) as log:
        await asyncio.gather(*(log.append(new_message(number, text="x" * 1_000)) for number in range(messages)))


async def test_makes_its_directory_and_a_private_file(tmp_path: Path) -> None:
    """Missing directories are made; nobody else may read the messages; once closed, all is in the one file."""
    path = tmp_path / "a/b/maru.db"
    await written(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"maru.db", "maru.db.lock"}


async def test_each_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    """WAL and FULL: every commit survives a power cut. No test can cut the power, so this reads settings."""
    path = tmp_path / "maru.db"
    await written(path, 1)
    with closing(database.open_writer(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_joining_an_empty_channel_writes_nothing(tmp_path: Path) -> None:
    """Reading channels without events leaves the file as it is."""
    path = tmp_path / "maru.db"
    async with log_at(path) as log:
        await log.append(new_message(1, ChannelName("room:2")))
        before = path.read_bytes(), path.with_name("maru.db-wal").read_bytes()
        for _ in range(3):
            await log.read(ROOM, 0, 100)
            await log.history(ROOM, None, None, 100)
        assert (path.read_bytes(), path.with_name("maru.db-wal").read_bytes()) == before


async def test_two_servers_can_not_share_a_file(tmp_path: Path) -> None:
    """The second server is told which process has the file. When the first has closed it, the second may open it."""
    path = tmp_path / "maru.db"
    async with log_at(path):
        assert f"another server (process {os.getpid()}) uses it" in await refusal(path)
    await written(path, 1)


async def test_a_lock_of_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a shell or a backup holds the file locked, the start says so after the busy timeout."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    await written(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another program holds a lock" in await refusal(path)
    async with log_at(path) as log:
        assert (await log.read(ROOM, 0, 0)).head.offset == 1


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Another file under that name is refused, and not changed."""
    path = tmp_path / "maru.db"
    path.write_text("These are my holiday photos, all of them. " * 100)
    assert "it is no SQLite database" in await refusal(path)
    assert path.read_text().startswith("These are my holiday photos")


async def test_a_database_of_another_application(tmp_path: Path) -> None:
    """It is refused untouched: not even its journal mode changes."""
    path = tmp_path / "maru.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    assert "another application's database" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_newer_schema(tmp_path: Path) -> None:
    """A file that a later version wrote is refused, and both versions are told."""
    path = tmp_path / "maru.db"
    await written(path, 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    known = database.SCHEMA_VERSION
    assert f"newer Maru (schema {known + 1}, this one knows {known})" in await refusal(path)


async def test_garbage_in_the_header(tmp_path: Path) -> None:
    """A file whose beginning is destroyed is refused."""
    path = tmp_path / "maru.db"
    await written(path)
    with path.open("r+b") as file:
        file.write(os.urandom(100))
    assert "it is no SQLite database" in await refusal(path)


@pytest.mark.parametrize("length", [4 * 4096, 4000])
async def test_garbage_in_the_middle(tmp_path: Path, length: int) -> None:
    """Damaged pages, or a page damaged in part, are found at the start, before anything is built on them."""
    path = tmp_path / "maru.db"
    await written(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096 + 4096 - length % 4096)
        file.write(b"\xa5" * length)
    assert "restore a backup" in await refusal(path)


async def test_a_truncated_file(tmp_path: Path) -> None:
    """A file whose end is missing is found too."""
    path = tmp_path / "maru.db"
    await written(path)
    os.truncate(path, path.stat().st_size // 2)
    assert "restore a backup" in await refusal(path)


async def test_of_a_large_file_only_the_small_tables_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the bound a start does not read the whole file: damage among the events shows when they are read."""
    path = tmp_path / "maru.db"
    await written(path)
    monkeypatch.setattr(database, "_QUICK_CHECK_BYTES", 0)
    async with log_at(path) as log:
        assert (await log.read(ROOM, 0, 0)).head.offset == 300


async def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    """A crash at the very start leaves an empty file: it becomes a log."""
    path = tmp_path / "maru.db"
    path.touch()
    await written(path, 1)


async def test_a_path_that_is_a_directory(tmp_path: Path) -> None:
    """The error names the cause."""
    assert "Is a directory" in await refusal(tmp_path)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that another user may enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


@pytest.mark.parametrize("protected", ["file", "directory"])
async def test_what_may_not_be_written_is_refused(public: Path, protected: str) -> None:
    """A read-only file, or a directory that takes no new files, is an error at the start and not at the first send."""
    path = public / "maru.db"
    if protected == "file":
        await written(path, 1)
        path.chmod(0o444)
        public.chmod(0o777)
        path.with_name("maru.db.lock").chmod(0o666)
    else:
        public.chmod(0o555)
    child = subprocess.run(
        [sys.executable, CHILD, "open", path],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.fullmatch(rf"message log {path}: can't open \S+ \(Permission denied\); give .*\n", child.stdout)
