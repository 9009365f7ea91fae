"""The writing connection: opened when it is needed, given up after an error, and kept while the file is lost."""

import sqlite3
import time
from contextlib import suppress

import structlog

from server.adapters.sqlite.database import open_writer
from server.adapters.sqlite.opened_file import LOOK_S, FileLost, OpenedFile
from server.adapters.sqlite.space import Space

_log = structlog.get_logger("maru.log")


class Connection:
    """Used by the writer's thread only. Tells once that the file can't be used, and once that it can again."""

    def __init__(self, file: OpenedFile, space: Space) -> None:
        self._file = file
        self._space = space
        self._db: sqlite3.Connection | None = None
        self._down = False  # the last use failed, and that was logged
        self.look_due = 0.0  # when the names of the files must be looked at, on time.monotonic()

    def get(self, *, surely: bool = False) -> sqlite3.Connection:
        """Return the connection. Raises `sqlite3.Error`: `FileLost` before anything is written into a lost file, at
        once if `surely`, else at most a moment after the file was lost."""
        if surely:
            self._file.look()
        self._file.glance()
        if self._db is None:
            self._file.look()
            db = open_writer(self._file.path)
            try:
                self._file.look()  # another file may have taken the name meanwhile
            except FileLost:
                db.close()
                raise
            self._db = db
            self._file.connected()
        self._space.look(self._db)
        return self._db

    def look(self) -> None:
        """Tell if the file was lost or found since the last look, and see how much room it has."""
        self.look_due = time.monotonic() + LOOK_S
        was_lost = self._file.lost
        try:
            self._file.look()
        except FileLost as error:
            self.failed(error)
        else:
            if was_lost:
                self.works()
            if self._db is not None:
                with suppress(sqlite3.Error):  # the next write meets it, too
                    self._space.look(self._db)

    def failed(self, error: sqlite3.Error) -> None:
        """Tell of the error. After a storage error only a new connection is known to be sound; but if the file is lost,
        only this connection has what was written, in case that the file is put back."""
        if not self._down:
            self._down = True
            _log.error("message_log.unavailable", path=str(self._file.path), error=str(error))
        if not isinstance(error, FileLost):
            self.close()

    def works(self) -> None:
        """Tell that the file can be used again, if it could not be."""
        if self._down:
            self._down = False
            _log.info("message_log.available", path=str(self._file.path))

    def close(self) -> None:
        """Close the connection, which rolls back."""
        if self._db is not None:
            self._file.disconnecting()
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
