"""Commands to Redis in order, many to a round trip.

What is submitted while a round trip is under way goes together in the next: a command alone is sent at once, and under
load one round trip carries hundreds.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from server.domain.errors import Overloaded, Unavailable

WAITING_LIMIT = 10_000
"""Commands that may wait; over it the caller is told to back off, and nothing was sent."""

BATCH_LIMIT = 256
"""Commands to a round trip: some milliseconds of Redis' time, so that others get their turn."""


@dataclass(slots=True)
class _Waiting:
    command: tuple[Any, ...]
    answer: asyncio.Future[Any]


class Pipeline:
    """One connection's worth of ordered commands. Close it by `aclose`; what waits then fails."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: deque[_Waiting] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def execute(self, *command: Any) -> Any:
        """Send a command behind those that were submitted before; return Redis' answer.

        Raises `Unavailable` where Redis can't be reached (the command may have been executed), `Overloaded` where too
        much waits, or the `ResponseError` that Redis answers with. Cancelling gives up the answer, not the command.
        """
        if self._closed:
            raise Unavailable("the server is stopping")
        if len(self._waiting) >= WAITING_LIMIT:
            raise Overloaded(f"{WAITING_LIMIT} commands wait for Redis")
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        answer = await waiting.answer
        if isinstance(answer, RedisError):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Let the round trip under way end, fail what waits, close the connection."""
        self._closed = True
        self._fail(list(self._waiting), "the server is stopping")
        self._waiting.clear()
        if self._flusher is not None:
            await self._flusher
        await self._client.aclose()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
                await self._round_trip(batch)
        finally:
            self._flusher = None

    async def _round_trip(self, batch: list[_Waiting]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for waiting in batch:
            pipeline.execute_command(*waiting.command)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            # Those that wait would only wait for the same.
            self._fail([*batch, *self._waiting], f"Redis does not answer ({type(error).__name__})", error)
            self._waiting.clear()
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    @staticmethod
    def _fail(group: list[_Waiting], problem: str, cause: BaseException | None = None) -> None:
        for waiting in group:
            if not waiting.answer.done():
                failure = Unavailable(problem)
                failure.__cause__ = cause
                waiting.answer.set_exception(failure)
