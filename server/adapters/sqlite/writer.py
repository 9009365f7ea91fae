"""The only thread that writes: it puts all drafts that wait into a single transaction, and answers after the commit."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from server.adapters.sqlite.batch import Batch, Outcome
from server.adapters.sqlite.channels import Channels
from server.adapters.sqlite.connection import Connection
from server.adapters.sqlite.debts import Debts
from server.adapters.sqlite.intake import Intake
from server.adapters.sqlite.jobs import Job, Jobs
from server.adapters.sqlite.opened_file import OpenedFile
from server.adapters.sqlite.order import Waiting
from server.adapters.sqlite.space import Space
from server.adapters.sqlite.sweep import PACE_S, Sweep
from server.adapters.sqlite.wal import Wal
from server.domain.channel_rates import ChannelRates
from server.domain.errors import Overloaded, RateLimited, Unavailable
from server.domain.retention import Retention

BATCH_LIMIT = 512
"""Drafts in a transaction. A larger batch gains nothing, and its first draft waits longer."""

CLOSE_TIMEOUT_S = 10.0
"""For the last batches: drafts that wait are past their deadline after 2 s, and are not written then."""

_PASSING = {Overloaded, RateLimited, Unavailable}
"""Refusals of a single draft that may be tried again."""

_log = structlog.get_logger("maru.log")


class Writer:
    """Owns the writing connection and its thread, which starts at once. `intake` is for tasks of `loop`."""

    def __init__(  # noqa: PLR0913  # all that a thread needs for itself
        self,
        file: OpenedFile,
        store_id: bytes,
        *,
        loop: asyncio.AbstractEventLoop,
        retention: Retention,
        debts: Debts,
        rates: ChannelRates,
        now_ms: Callable[[], int],
        sweep: Sweep,
        space: Space,
    ) -> None:
        self._path = file.path
        self._connection = Connection(file, space)
        self._wal = Wal(self._connection, space)
        self._space = space
        self._channels, self._debts = Channels(store_id), debts
        self._retention = retention
        self._rates = rates
        self._now_ms = now_ms
        self._sweep = sweep
        self._sweep_due = 0.0  # at once: events may have grown too old while the server was down
        self.intake = Intake(loop)
        self._jobs = Jobs(self._connection, self._disconnect)
        self._taken: deque[Waiting] = deque()  # by the thread, for this batch and the next
        self._stopping = False  # no more drafts will come
        self._thread = threading.Thread(target=self._run, name="maru-log-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the drafts that wait, then close the file. Blocks for `CLOSE_TIMEOUT_S` at most."""
        self.intake.ended = self.intake.ended or "the message log is closed"
        self.intake.handed.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("message_log.close_timeout", path=str(self._path))

    def _run(self) -> None:
        try:
            while not self._stopping or self._taken:
                if batch := self._take():
                    self._write(batch)
                self._jobs.run()
                if time.monotonic() >= self._connection.look_due:
                    self._connection.look()
                if not self._stopping and time.monotonic() >= self._sweep_due:
                    self._sweep_once()
                if time.monotonic() >= self._wal.erase_due:
                    self._empty_wal()
        except Exception:  # noqa: BLE001 - our own fault: log it, and acknowledge nothing any more
            self.intake.ended = "the message log's writer has failed; the server must be started again"
            _log.critical("message_log.writer_failed", path=str(self._path), exc_info=True)
            self.intake.fail()
        finally:
            self._refuse_waiting()
            self._connection.close()

    def _take(self) -> list[Waiting]:
        """Wait for drafts, or until a sweep is due. Returns a batch, which may be empty."""
        with suppress(queue.Empty):
            if not self._taken:
                self._note(self.intake.handed.get(timeout=self._pause()))
            while len(self._taken) < BATCH_LIMIT:
                self._note(self.intake.handed.get_nowait())
        batch = [self._taken.popleft() for _ in range(min(BATCH_LIMIT, len(self._taken)))]
        self.intake.taken += len(batch)
        return batch

    def _pause(self) -> float:
        return max(0.0, min(self._sweep_due, self._wal.erase_due, self._connection.look_due) - time.monotonic())

    def _note(self, handed: list[Waiting] | Job[Any] | None) -> None:
        if handed is None:
            self._stopping = True
        elif isinstance(handed, Job):
            self._jobs.note(handed)
        else:
            self._taken += handed

    def _write(self, batch: list[Waiting]) -> None:
        if not (batch := self.intake.begin(batch)):
            return
        try:
            outcomes = self._transaction(batch)
        except sqlite3.Error as error:
            self._disconnect(error)
            self.intake.refuse([(entry, _unavailable(error)) for entry in batch])
        except Exception as error:  # noqa: BLE001 - a draft's content is at fault; the others must not suffer
            self._disconnect(None)
            if len(batch) == 1:
                self.intake.answer([(batch[0], error)])
                return
            self.intake.put_back(batch)
            for entry in batch:
                self._write([entry])
        else:
            if not _PASSING.isdisjoint(map(type, outcomes)):
                self.intake.close_channels(
                    [entry for entry, outcome in zip(batch, outcomes, strict=True) if type(outcome) in _PASSING]
                )
            self.intake.answer(list(zip(batch, outcomes, strict=True)))
            self._connection.works()
            self._checkpoint()

    def _transaction(self, entries: Sequence[Waiting]) -> list[Outcome]:
        db = self._connection.get()
        try:
            return self._attempt(db, entries, trusting=True)
        except sqlite3.IntegrityError:
            # An id is taken, although ids are unique: look each id up, to find out which.
            db.execute("ROLLBACK")
            self._forget()
            return self._attempt(db, entries, trusting=False)

    def _attempt(self, db: sqlite3.Connection, entries: Sequence[Waiting], *, trusting: bool) -> list[Outcome]:
        db.execute("BEGIN IMMEDIATE")
        now, judged = self._now_ms(), self._sweep.now(db)
        batch = Batch(
            db,
            self._channels,
            now,
            self._retention,
            debts=self._debts,
            rates=self._rates,
            trusting=trusting,
            judged_ms=judged,
            full=self._space.full,
        )
        try:
            outcomes = batch.run([entry.draft for entry in entries], [entry.sender for entry in entries])
            db.execute("COMMIT")
        except BaseException:
            batch.undo()
            raise
        if batch.erases:
            self._erased(unfinished=batch.unfinished)
        return outcomes

    def _erased(self, *, unfinished: bool) -> None:
        """Empty the WAL soon. If edits are left to erase, the sweep goes on with them at once."""
        self._wal.erase_soon()
        if unfinished:
            self._sweep_due = min(self._sweep_due, time.monotonic() + PACE_S)

    def _sweep_once(self) -> None:
        try:
            db = self._connection.get()
            db.execute("BEGIN IMMEDIATE")
            due_in = self._sweep.step(db)
            self._forget()  # floors of channels may have risen
            self._rates.sweep()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect(error)
            due_in = self._sweep.restart()
        else:
            if self._sweep.erased:
                self._erased(unfinished=False)
            self._connection.works()
            self._checkpoint(idle=due_in > PACE_S)
        self._sweep_due = time.monotonic() + due_in

    def _checkpoint(self, *, idle: bool = False) -> None:
        try:
            self._wal.checkpoint(idle=idle)
        except sqlite3.Error as error:
            self._disconnect(error)

    def _empty_wal(self) -> None:
        try:
            self._wal.empty()
        except sqlite3.Error as error:
            self._disconnect(error)

    def _disconnect(self, error: sqlite3.Error | None) -> None:
        """Begin anew after an error, or after a draft that can't be written."""
        self._forget()
        self._wal.restart()
        if error is None:
            self._connection.close()
        else:
            self._connection.failed(error)

    def _forget(self) -> None:
        self._channels.forget()
        self._debts.forget()

    def _refuse_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._note(self.intake.handed.get_nowait())
        self.intake.refuse([(entry, Unavailable(self.intake.ended)) for entry in self._taken])
        self._jobs.refuse(self.intake.ended)


def _unavailable(cause: Exception) -> Unavailable:
    error = Unavailable("the message log can't be written")
    error.__cause__ = cause
    return error
