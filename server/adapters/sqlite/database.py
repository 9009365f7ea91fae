"""Opening the log's file. The file must have no other server, a known schema, and a disk that takes writes; otherwise
a single error says what is wrong."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from server.adapters.sqlite.migration import migrate

APPLICATION_ID = 0x4D415255
"""`MARU`, in the file's header: tells the log from any other SQLite database."""

SCHEMA_VERSION = 5
"""The version of schema.sql, and the file's `user_version`. A higher version needs a step in migration.py."""

DEADLINE_S = 2.0
"""Every append and read is answered within this time (promise 9 of the port)."""

BUSY_TIMEOUT_S = 1.5
"""How long a statement waits for another program's lock: less than the deadline, so that the error names the cause."""

WAL_LIMIT_PAGES = 16_384
"""64 MiB. The writer empties the WAL earlier (writer.py); this is SQLite's own bound, in case the writer fails to."""

_CACHE_KIB = 16 * 1024
"""Cache of the writer: the last pages of some thousand busy channels and keys, which every commit touches again."""

_QUICK_CHECK_BYTES = 64 * 1024 * 1024
"""Up to this size, the whole file is checked at start (some 100 ms). Of a larger file, only the small tables are."""


class LogUnusable(Exception):
    """The log can't be opened. The text is a single line: which file, what is wrong, what to do."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Return a connection that writes to an existing file. It uses a WAL; a commit is on the disk when it returns."""
    uri = f"{path.resolve().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")  # deleted text is overwritten, not only marked as free
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_LIMIT_PAGES}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection for reading only, beside the writer. Each statement sees a single moment."""
    # Not `mode=ro`: such a connection can't open the WAL while the writer has it closed.
    uri = f"{path.resolve().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    db.execute("PRAGMA query_only = ON")
    return db


def prepare(path: Path) -> bytes:
    """Check the file, or make a new one, and prove that it takes a write. Returns the store's id.

    Raises `LogUnusable`. The caller holds `exclusive(path)`.
    """
    os.close(_open(path, path))  # SQLite would make it readable for everybody, and open it read-only if it must
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as db:
            _identify(path, db)
        with closing(open_writer(path)) as db:
            return _prepare(path, db)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other servers away from the file, and make its directory if it is missing. Raises `LogUnusable`.

    Two servers on a file would each give right offsets, but neither would hear of the other's events. The lock ends
    with the process, however that ends. The lock file stays, because removing it would race.
    """
    lock = path.with_name(path.name + ".lock")
    descriptor = _open(path, lock)
    try:
        _lock(path, descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path, file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LogUnusable(
            f"message log {path}: can't open {error.filename} ({error.strerror}); "
            "give the path of a file that the server may write, in a directory that it may write to"
        ) from error


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        raise LogUnusable(
            f"message log {path}: another server (process {owner}) uses it; "
            "stop that one, or give this one a path of its own"
        ) from error
    except OSError as error:
        raise LogUnusable(
            f"message log {path}: its directory can't be locked ({error.strerror}); give a path on a local disk"
        ) from error
    with suppress(OSError):  # the owner's number is a courtesy, and a full disk does not take it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _identify(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a file of another application or of a newer version, before anything is written."""
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    if application != APPLICATION_ID and not (application == 0 and _is_empty(db)):
        raise LogUnusable(
            f"message log {path}: the file is another application's database; give another path, or move it away"
        )
    if version > SCHEMA_VERSION:
        raise LogUnusable(
            f"message log {path}: written by a newer Maru (schema {version}, this one knows {SCHEMA_VERSION}); "
            "start the newer version, or give another path"
        )


def _prepare(path: Path, db: sqlite3.Connection) -> bytes:
    if _is_empty(db):
        _create(db)
    _check(path, db)
    # A real write: a full disk shows now, and not at the first message.
    db.execute("BEGIN IMMEDIATE")
    migrate(db, _pragma(db, "user_version"))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")
    (id,) = db.execute("SELECT id FROM store").fetchone()
    return bytes(id)


def _is_empty(db: sqlite3.Connection) -> bool:
    return not _one(db, "SELECT count(*) FROM sqlite_master")


def _create(db: sqlite3.Connection) -> None:
    schema = resources.files("server.adapters.sqlite").joinpath("schema.sql").read_text("utf-8")
    db.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        f"{schema} COMMIT"
    )


def _check(path: Path, db: sqlite3.Connection) -> None:
    size = _pragma(db, "page_count") * _pragma(db, "page_size")
    for table in ("",) if size <= _QUICK_CHECK_BYTES else ("(store)", "(channels)"):
        verdict = _one(db, f"PRAGMA quick_check{table}")
        if verdict != "ok":
            raise LogUnusable(
                f"message log {path}: the file is damaged ({verdict.splitlines()[-1]}); "
                "restore a backup, or move the file away to start an empty log"
            )


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(_one(db, f"PRAGMA {name}"))


def _one(db: sqlite3.Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]


def _unusable(path: Path, error: sqlite3.Error) -> LogUnusable:
    remedies = {
        "SQLITE_NOTADB": "it is no SQLite database; give another path, or move the file away",
        "SQLITE_CORRUPT": "restore a backup, or move the file away to start an empty log",
        "SQLITE_BUSY": "another program holds a lock on it; stop that one",
        "SQLITE_FULL": "the disk is full; make room",
        "SQLITE_CANTOPEN": "make its directory readable and writable for the server",
    }
    name = getattr(error, "sqlite_errorname", "")
    remedy = next((text for code, text in remedies.items() if name.startswith(code)), "is the disk full or broken?")
    return LogUnusable(f"message log {path}: {error}; {remedy}")
