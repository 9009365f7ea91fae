"""Whether the log's file still has its name: writes into a removed or replaced file are lost at the next start."""

import sqlite3
import time
from pathlib import Path

LOOK_S = 1.0
"""Between two looks at the names of the file, its WAL and the WAL's index, also while nothing is written."""

GLANCE_S = 0.05
"""Between two looks at the file's name before transactions. Each look costs the writer a hand-over of the interpreter's
lock, so a busy writer does not look each time."""

_BESIDE = ("-wal", "-shm")

_Identity = tuple[int, int]


class FileLost(sqlite3.OperationalError):
    """The log's files are not at their names any more. Nothing may be written, or read as if it were kept."""


class OpenedFile:
    """The identity of the file at `path` when this was made, and of the files beside it while the writer is connected.

    `lost` is true from the look that misses a file until a look that finds it again. Made while the file exists. `look`
    may be called by every thread, all others by the writer's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = False
        self._identity = _identity(path)
        self._beside: dict[Path, _Identity] = {}
        self._glance_due = 0.0  # on time.monotonic()

    def look(self) -> None:
        """Raise `FileLost` unless all files are at their names."""
        missed = self._missed()
        self.lost = missed is not None
        if missed is not None:
            raise FileLost(
                f"{missed} was removed or replaced under the server; put the same file back, or start the server again"
            )

    def _missed(self) -> Path | None:
        """Return a file that is not at its name. The writer may reconnect meanwhile, and then expects others."""
        while True:
            beside = self._beside
            expected = {self.path: self._identity, **beside}
            missed = next((path for path, identity in expected.items() if _identity(path) != identity), None)
            if missed is None or self._beside is beside:
                return missed

    def glance(self) -> None:
        """Raise `FileLost` if a look has missed a file, or if the log's file has gone since `GLANCE_S`."""
        now = time.monotonic()
        if self.lost or now >= self._glance_due:
            self._glance_due = now + GLANCE_S
            if self.lost or _identity(self.path) != self._identity:
                self.look()

    def connected(self) -> None:
        """Remember the files that SQLite keeps beside the file as long as a connection is open."""
        names = (self.path.with_name(self.path.name + ending) for ending in _BESIDE)
        self._beside = {name: identity for name in names if (identity := _identity(name))}

    def disconnecting(self) -> None:
        """Expect that SQLite removes the files beside the file, unless they are lost already."""
        if not self.lost:
            self._beside = {}


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
