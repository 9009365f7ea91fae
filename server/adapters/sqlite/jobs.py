"""Work of the writing thread beside the drafts: each piece in a transaction of its own."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from server.adapters.sqlite.connection import Connection
from server.domain.errors import Unavailable

T = TypeVar("T")


class Job(Generic[T]):
    """A piece of work, and the future of its result on `loop`."""

    __slots__ = ("_loop", "answer", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self._loop = loop
        self.answer: asyncio.Future[T] = loop.create_future()

    def give(self, result: T | Exception) -> None:
        """Give the caller a result or an error. Called by the thread."""
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, result)

    def _settle(self, result: T | Exception) -> None:
        if self.answer.done():  # the caller has given up
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
        else:
            self.answer.set_result(result)


class Jobs:
    """The work that waits. Used by the thread only. `failed` is told of the storage's errors."""

    def __init__(self, connection: Connection, failed: Callable[[sqlite3.Error], None]) -> None:
        self._connection = connection
        self._failed = failed
        self._waiting: deque[Job[Any]] = deque()

    def note(self, job: Job[Any]) -> None:
        """Take work in."""
        self._waiting.append(job)

    def run(self) -> None:
        """Do the work that waits."""
        while self._waiting:
            self._do(self._waiting.popleft())

    def refuse(self, reason: str) -> None:
        """Do nothing of the work that waits."""
        while self._waiting:
            self._waiting.popleft().give(Unavailable(reason))

    def _do(self, job: Job[Any]) -> None:
        if job.answer.cancelled():
            return
        try:
            db = self._connection.get(surely=True)
            db.execute("BEGIN IMMEDIATE")
            try:
                result = job.work(db)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._failed(error)
            away = Unavailable("the message log's file can't be written")
            away.__cause__ = error
            job.give(away)
        except Exception as error:  # noqa: BLE001 - it is the caller's, and others must not suffer
            job.give(error)
        else:
            self._connection.works()
            job.give(result)
