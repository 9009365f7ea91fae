"""The one thread that writes: it takes all drafts that wait into one transaction, and answers after the commit."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.adapters.sqlite.batch import Batch, Outcome
from server.adapters.sqlite.channels import Channels
from server.adapters.sqlite.database import BUSY_TIMEOUT_S, DEADLINE_S, WAL_LIMIT_PAGES, open_writer
from server.adapters.sqlite.sweep import PACE_S, Sweep
from server.domain.errors import Overloaded, Unavailable
from server.domain.messages import Draft
from server.ports.message_log import Appended

WAITING_LIMIT = 10_000
"""Drafts that wait for the writer: about a second of its work. Over it, `Overloaded`."""

BATCH_LIMIT = 512
"""Drafts in one transaction. Larger ones gain nothing more and make the first of them wait."""

CHECKPOINT_CHANGES = 2_048
"""Changed rows (5 to 20 MiB) after which the WAL is copied into the file: between two batches, not in a commit."""

CHECKPOINT_WAIT_MS = 50
"""How long the writer waits, at most, for readers to leave a WAL that has grown over its bound."""

CLOSE_TIMEOUT_S = 10.0
"""For the last batches at the end: what waits is older than its deadline after 2 s and is not written."""

_log = structlog.get_logger("maru.log")


@dataclass(slots=True)
class _Waiting:
    draft: Draft
    answer: asyncio.Future[Appended]
    deadline: float  # on time.monotonic(); nobody waits for the answer after it


class Writer:
    """Owns the writing connection and its thread, which starts at once; `append` is for tasks of `loop`."""

    def __init__(
        self,
        path: Path,
        store_id: bytes,
        *,
        loop: asyncio.AbstractEventLoop,
        max_events: int,
        now_ms: Callable[[], int],
        sweep: Sweep,
    ) -> None:
        self._path = path
        self._channels = Channels(store_id)
        self._loop = loop
        self._max_events = max_events
        self._now_ms = now_ms
        self._sweep = sweep
        self._sweep_due = 0.0  # at once: what grew old while the server was down
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="maru-log-writer", daemon=True)
        self._db: sqlite3.Connection | None = None
        self._checkpointed_at = 0  # on the connection's count of changes
        self._down = False
        self._ended = ""  # why there is no more writing
        self._thread.start()

    async def append(self, draft: Draft) -> Appended:
        """The port's `append`: the draft takes its place in the order before the first wait."""
        if self._ended:
            raise Unavailable(self._ended)
        if self._queue.qsize() >= WAITING_LIMIT:
            raise Overloaded("too many messages wait to be written")
        answer: asyncio.Future[Appended] = self._loop.create_future()
        self._queue.put(_Waiting(draft, answer, time.monotonic() + DEADLINE_S))
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await answer
        except TimeoutError as error:
            raise Unavailable(f"the message log did not answer within {DEADLINE_S:.0f} s") from error

    def stop(self) -> None:
        """Write what waits, then close the file. Blocks, at most `CLOSE_TIMEOUT_S`."""
        self._ended = self._ended or "the message log is closed"
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("message_log.close_timeout", path=str(self._path))

    def _run(self) -> None:
        try:
            running = True
            while running:
                batch, running = self._take()
                if batch:
                    self._write(batch)
                if running and time.monotonic() >= self._sweep_due:
                    self._sweep_once()
        except Exception:  # noqa: BLE001 - a fault of ours: loud, and nothing is acknowledged any more
            self._ended = "the message log's writer has failed; the server must be started again"
            _log.critical("message_log.writer_failed", path=str(self._path), exc_info=True)
        finally:
            self._refuse_waiting()
            self._close()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Wait for drafts, or until a sweep is due; with them, whether to go on."""
        batch: list[_Waiting] = []
        with suppress(queue.Empty):
            entry = self._queue.get(timeout=max(0.0, self._sweep_due - time.monotonic()))
            while entry is not None:
                batch.append(entry)
                if len(batch) >= BATCH_LIMIT:
                    return batch, True
                entry = self._queue.get_nowait()
            return batch, False
        return batch, True

    def _write(self, batch: Sequence[_Waiting]) -> None:
        now = time.monotonic()
        late = [entry for entry in batch if entry.deadline < now]
        self._answer([(entry, Unavailable("the message log did not write in time")) for entry in late])
        batch = [entry for entry in batch if entry.deadline >= now]
        if not batch:
            return
        try:
            outcomes = self._transaction([entry.draft for entry in batch])
        except sqlite3.Error as error:
            self._disconnect(error)
            self._answer([(entry, _unavailable(error)) for entry in batch])
        except Exception as error:  # noqa: BLE001 - of one draft's content; the others must not suffer from it
            self._disconnect(None)
            if len(batch) == 1:
                self._answer([(batch[0], error)])
                return
            for entry in batch:
                self._write([entry])
        else:
            self._answer(list(zip(batch, outcomes, strict=True)))
            self._up()
            self._checkpoint()

    def _transaction(self, drafts: Sequence[Draft]) -> list[Outcome]:
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        outcomes = Batch(db, self._channels, self._now_ms(), self._max_events).run(drafts)
        db.execute("COMMIT")
        return outcomes

    def _answer(self, answers: Sequence[tuple[_Waiting, Appended | Exception]]) -> None:
        if answers:
            with suppress(RuntimeError):  # the loop is closed, and with it everybody who waited
                self._loop.call_soon_threadsafe(_resolve, answers)

    def _sweep_once(self) -> None:
        try:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            due_in = self._sweep.step(db)
            self._channels.forget()  # their floors may have risen
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect(error)
            due_in = self._sweep.restart()
        else:
            self._up()
            self._checkpoint(idle=due_in > PACE_S)
        self._sweep_due = time.monotonic() + due_in

    def _checkpoint(self, *, idle: bool = False) -> None:
        """Copy the WAL into the file, where enough has changed. The answers are out: nobody waits for it."""
        db = self._connected()
        if not idle and db.total_changes - self._checkpointed_at < CHECKPOINT_CHANGES:
            return
        self._checkpointed_at = db.total_changes
        try:
            _, in_wal, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if in_wal > WAL_LIMIT_PAGES:
                # Readers follow each other so closely that the WAL never starts over: wait for a gap.
                db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
        except sqlite3.Error as error:
            self._disconnect(error)

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = open_writer(self._path)
            self._checkpointed_at = 0
        return self._db

    def _disconnect(self, error: sqlite3.Error | None) -> None:
        """Roll back by closing: after a storage error only a fresh connection is known to be sound."""
        if error is not None and not self._down:
            self._down = True
            _log.error("message_log.unavailable", path=str(self._path), error=str(error))
        self._close()

    def _up(self) -> None:
        if self._down:
            self._down = False
            _log.info("message_log.available", path=str(self._path))

    def _close(self) -> None:
        self._channels.forget()
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _refuse_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                entry = self._queue.get_nowait()
                if entry is not None:
                    self._answer([(entry, Unavailable(self._ended))])


def _resolve(answers: Sequence[tuple[_Waiting, Appended | Exception]]) -> None:
    for entry, outcome in answers:
        if entry.answer.done():  # given up by its caller
            continue
        if isinstance(outcome, Exception):
            entry.answer.set_exception(outcome)
        else:
            entry.answer.set_result(outcome)


def _unavailable(cause: Exception) -> Unavailable:
    error = Unavailable("the message log can't be written")
    error.__cause__ = cause
    return error
