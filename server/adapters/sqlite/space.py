"""Whether the log may grow: messages are refused before the disk is full, so that deletions and retention go on."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import structlog

SHARE = 0.8
"""The part of the file system that the log may take, unless a setting says otherwise. The rest is for the WAL, and for
whatever else is there."""

MIN_FREE_BYTES = 64 * 1024 * 1024
"""Room that must be left on the file system: for the WAL, in which deletions and retention are written, too."""

MIN_FREE_SHARE = 0.1
"""Of a small file system it is this part of it."""

TIGHT = 8
"""With less room than so many times the least, each transaction looks, and the WAL is copied into the file often."""

LOOK_S = 0.25
"""Between two looks while messages are written and there is more room."""

SPARE = 0.02
"""The part of the bounds that must be free again before messages are taken: the log must not be full again at once."""

RETRY_MS = 5_000
"""The wait that refused clients are told."""

_log = structlog.get_logger("maru.log")


class Space:
    """Looks at the file and its file system. Used by the writer's thread; `used`, `limit` and `full` by others, too.

    `used` are the bytes of the pages that hold something, without the WAL: if events are dropped, a file keeps its
    size, and takes new ones in their place. `max_bytes` is the bound of them; None is `SHARE` of the file system.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int | None,
        file_system: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file_system = file_system
        self._due = 0.0  # of the next look, on time.monotonic()
        self.used = self.limit = 0
        self.full = False
        self.tight = False  # there is so little room that the WAL must stay small

    def look(self, db: sqlite3.Connection) -> None:
        """Look, unless that was done a moment ago and there is much room. Raises `sqlite3.Error`."""
        now = time.monotonic()
        if now < self._due and not self.tight:
            return
        self._due = now + LOOK_S
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (unused,) = db.execute("PRAGMA freelist_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        self.used = (pages - unused) * size
        try:
            disk = self._file_system(self._path)
        except OSError:
            return  # the file is lost, or the disk is: that is told elsewhere
        whole, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        self.limit = self._max_bytes or int(whole * SHARE)
        least = min(MIN_FREE_BYTES, whole * MIN_FREE_SHARE)
        self.tight = free < least * TIGHT
        if self.full:
            full = self.used > self.limit * (1 - SPARE) or free < least * (1 + SPARE)
        else:
            full = self.used >= self.limit or free < least
        if full is not self.full:
            self.full = full
            self._tell(free)

    def _tell(self, free: int) -> None:
        facts = {"path": str(self._path), "used": self.used, "limit": self.limit, "free": free}
        if self.full:
            _log.error("message_log.full", **facts)
        else:
            _log.info("message_log.has_room", **facts)
