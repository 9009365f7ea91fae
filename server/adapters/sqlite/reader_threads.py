"""The threads that read: jobs of one or several queries go to them, and the results come back to the event loop."""

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from server.adapters.sqlite.database import open_reader
from server.adapters.sqlite.opened_file import OpenedFile
from server.domain.errors import Unavailable

THREADS = 3
"""Jobs at the same time. More would help only while they wait for the disk: Python runs one of them at a time."""

JOB_LIMIT = 8
"""Queries that share a job. To hand a job over, and its results back, costs more than reading a channel takes."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query for a row. `answer` is given the row's shape, or the exception."""

    sql: str
    arguments: Row
    shape: Callable[[Row | None], object]
    answer: asyncio.Future[Any]


class ReaderThreads:
    """A pool of threads, and their connections."""

    def __init__(self, file: OpenedFile) -> None:
        self._file = file
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="maru-log-reader")
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._gathered: list[Query] = []  # asked in this turn of the event loop; they share jobs
        self.pending = 0  # queries that wait or run
        self.ended = False

    def run(self, query: Query) -> None:
        """Run a query in a job of its own."""
        self.pending += 1
        self._hand_over([query])

    def run_together(self, query: Query) -> None:
        """Run a query in a job that it shares with others that are asked in the same turn of the event loop."""
        self.pending += 1
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over_gathered)
        self._gathered.append(query)

    def stop(self) -> None:
        """Finish the jobs that wait or run, then close the connections. Blocks."""
        self.ended = True
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _hand_over_gathered(self) -> None:
        """Give the threads what was asked in the turn that has just ended."""
        gathered, self._gathered = self._gathered, []
        for start in range(0, len(gathered), JOB_LIMIT):
            self._hand_over(gathered[start : start + JOB_LIMIT])

    def _hand_over(self, queries: Sequence[Query]) -> None:
        """Give a thread a job of one or several queries."""
        if self.ended:
            self._tell(queries, [closed()] * len(queries))
            return
        self._threads.submit(self._on_thread, queries, asyncio.get_running_loop())

    def _tell(self, queries: Sequence[Query], outcomes: Sequence[object]) -> None:
        """Give each query its result, or its exception, unless its caller has left."""
        self.pending -= len(queries)
        for query, outcome in zip(queries, outcomes, strict=True):
            if query.answer.done():
                continue
            if isinstance(outcome, Exception):
                query.answer.set_exception(outcome)
                query.answer.exception()  # is no fault if the caller has left
            else:
                query.answer.set_result(outcome)

    def _on_thread(self, queries: Sequence[Query], loop: asyncio.AbstractEventLoop) -> None:
        """Find the result of each query, or its exception, and give it back at once: each turn of a busy loop that the
        answer has to wait for is a long time."""
        outcomes: list[object] = []
        for query in queries:
            try:
                outcomes.append(query.shape(self._row(query)))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is for the caller of this query alone
                outcomes.append(error)
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(self._tell, queries, outcomes)

    def _row(self, query: Query) -> Row | None:
        try:
            db = self._idle.get_nowait()
        except queue.Empty:
            self._file.look()
            db = open_reader(self._file.path)
        try:
            row: Row | None = db.execute(query.sql, query.arguments).fetchone()
        except BaseException:
            db.close()  # after an error only a fresh connection is known to be sound
            raise
        self._idle.put(db)
        return row


def closed() -> Unavailable:
    """Return the error of a query that comes too late."""
    return Unavailable("the message log is closed")
