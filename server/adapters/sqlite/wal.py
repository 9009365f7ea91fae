"""The WAL of the message log's file: copied into the file before it grows large, and emptied after a deletion."""

import time
from math import inf

from server.adapters.sqlite.connection import Connection
from server.adapters.sqlite.database import BUSY_TIMEOUT_S, WAL_LIMIT_PAGES
from server.adapters.sqlite.space import Space

CHECKPOINT_CHANGES = 2_048
"""Changed rows (5 to 20 MiB) after which the WAL is copied into the file, between two batches and not in a commit."""

TIGHT_CHANGES = 128
"""The same with little room on the disk: the WAL stays at some MiB."""

CHECKPOINT_WAIT_MS = 50
"""How long the writer waits for readers to leave a WAL that has grown over its bound, at most."""

ERASE_WITHIN_S = 2.0
"""After a deletion, the text stands in the WAL until the file has taken everything over and the WAL is emptied. That is
tried this often: rarely enough that a moderator who deletes a thousand messages slows nobody down."""


class Wal:
    """Used by the writer's thread only, outside of transactions. Call `restart` after an error."""

    def __init__(self, connection: Connection, space: Space) -> None:
        self._connection = connection
        self._space = space
        self._checkpointed_at = 0  # the connection's count of changes at the last checkpoint
        self.erase_due = inf  # when the WAL must be emptied, on time.monotonic()

    def restart(self) -> None:
        """Note that the connection begins anew."""
        self._checkpointed_at = 0

    def checkpoint(self, *, idle: bool = False) -> None:
        """Copy the WAL into the file if enough has changed, or if nobody waits for the writer. Raises `sqlite3.Error`.
        Call it once the answers of a batch are out: then nobody waits for this."""
        db = self._connection.get()
        changes = TIGHT_CHANGES if self._space.tight else CHECKPOINT_CHANGES
        if not idle and db.total_changes - self._checkpointed_at < changes:
            return
        self._checkpointed_at = db.total_changes
        _, in_wal, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if in_wal > WAL_LIMIT_PAGES:
            # Some reader always uses the WAL, so that it never starts over: wait until none does.
            db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")

    def erase_soon(self) -> None:
        """Have the WAL emptied within `ERASE_WITHIN_S`."""
        self.erase_due = min(self.erase_due, time.monotonic() + ERASE_WITHIN_S)

    def empty(self) -> None:
        """Cut the WAL to nothing, so that it holds no text of deleted messages. If a reader uses it, or this raises
        `sqlite3.Error`, it is due again."""
        emptied = False
        try:
            db = self._connection.get()
            db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
            emptied = not busy
        finally:
            self.erase_due = inf if emptied else time.monotonic() + ERASE_WITHIN_S
