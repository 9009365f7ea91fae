"""Calls of one kind that wait for PostgreSQL: those that come while a transaction is under way go with the next, as one
statement, so that thousands of joins cost some tens of transactions."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from server.domain.errors import MaruError, Unavailable

WAITING_LIMIT = 20_000
"""Calls that wait; over it further ones are `Unavailable`."""

BATCH = 64
"""Calls in a transaction, at most: some 10 ms, for which the rosters are locked."""

UNDER_WAY = 2
"""Transactions at once."""

_log = structlog.get_logger("maru.postgres")

Call = TypeVar("Call")
Answer = TypeVar("Answer")


class Calls(Generic[Call, Answer]):
    """`send` makes a batch of calls, and returns their answers. If it fails, all fail."""

    def __init__(self, send: Callable[[Sequence[Call]], Awaitable[Sequence[Answer]]]) -> None:
        self._send = send
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self._under_way = set[asyncio.Task[None]]()

    async def ask(self, call: Call) -> Answer:
        """Make a call. Raises `Unavailable`."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise Unavailable(f"{WAITING_LIMIT} calls wait for PostgreSQL")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, answered))
        if len(self._under_way) < UNDER_WAY:
            task = asyncio.create_task(self._flush())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return await answered

    async def _flush(self) -> None:
        while batch := self._next():
            try:
                answers = await self._send([call for call, _ in batch])
            except MaruError as error:
                for _, answered in batch:
                    if not answered.done():
                        answered.set_exception(type(error)(error.message))
                continue
            except Exception:  # noqa: BLE001  # a fault of ours: log it, and let nobody wait for ever
                _log.exception("postgres.writer_failed")
                for _, answered in batch:
                    if not answered.done():
                        answered.set_exception(Unavailable("the call to PostgreSQL was given up"))
                continue
            for (_, answered), answer in zip(batch, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)

    def _next(self) -> list[tuple[Call, asyncio.Future[Answer]]]:
        """Return those that go next; nobody waits any more for some."""
        batch = list[tuple[Call, asyncio.Future[Answer]]]()
        while self._waiting and len(batch) < BATCH:
            each = self._waiting.popleft()
            if not each[1].done():
                batch.append(each)
        return batch
