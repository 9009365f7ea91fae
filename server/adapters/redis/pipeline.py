"""Commands to Redis in order, many to a round trip.

A command is sent at once if no round trip is under way. Commands that are submitted during a round trip are sent
together in the next, so that under load a round trip carries hundreds.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from server.adapters.redis.connection import RUN, Command, Connection
from server.adapters.redis.keeping import Keeping
from server.adapters.redis.master import Master, NotKept
from server.domain.errors import MaruError, Overloaded, Unavailable

__all__ = ["RUN", "Pipeline"]

WAITING_LIMIT = 10_000
"""Commands that may wait. Over this number, `Overloaded`: the command was not sent."""

BATCH_LIMIT = 256
"""Commands in a round trip: some milliseconds of Redis' time, so that other replicas are served between."""

QUEUE_S = 1.4
"""A command that has waited longer than this in the queue is not sent."""

ROUND_TRIP_S = 1.0
"""A round trip takes at most this time, with connecting; less if its oldest command has waited."""

ANSWER_S = 1.8
"""From the call to its answer or error: below the 2 s that a client may be kept waiting."""

FORGOTTEN_LIMIT = 3
"""How often a batch is repeated, at most, because Redis has forgotten its scripts."""

Read = Callable[[Any], Any]
"""Makes the caller's result of Redis' answer, which may be a `ResponseError`; or raises."""

_log = structlog.get_logger("maru.redis")


@dataclass(slots=True)
class _Waiting:
    command: Command
    answer: asyncio.Future[Any]
    since: float  # on the loop's clock
    read: Read


class Pipeline:
    """Sends commands in order over a connection of `client`, which it owns. Close it by `aclose`.

    `master` is shared with the other connections of the process, so that all leave a node that one has found demoted.
    `keep` is for commands that write: they are answered once so many replicas have them, and never by an old master.
    """

    def __init__(self, client: Redis, master: Master | None = None, keep: int | None = None) -> None:
        self._connection = Connection(client, master or Master(), None if keep is None else Keeping(client, keep))
        self._scripts: dict[str, bytes] = {}  # their texts, by hash
        self._waiting: deque[_Waiting] = deque()  # not sent yet
        self._flusher: asyncio.Task[None] | None = None  # runs while commands wait
        self._closed = False

    def script(self, text: bytes) -> str:
        """Return the script's hash for EVALSHA. A Redis that has restarted is sent the text again."""
        name = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._scripts[name] = text
        return name

    async def execute(self, *command: Any) -> Any:
        """Send a command behind those that were submitted before. Returns Redis' answer, within 2 s.

        A word `RUN` is sent as the first 10 characters of the run id of the Redis process.

        Raises `Unavailable` if Redis can't be reached (the command may have been executed), `Overloaded` if too many
        commands wait (it has not been executed), or the `ResponseError` that Redis answers with. Cancelling gives up
        the answer, not the command.
        """
        return await self.submit(command, _raised)

    def submit(self, command: Command, read: Read) -> asyncio.Future[Any]:
        """As `execute`, without a task or a coroutine. The command has its place in the order when this returns; the
        future gets the result of `read`."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        if self._closed:
            answer.set_exception(Unavailable("the server is stopping"))
        elif len(self._waiting) >= WAITING_LIMIT:
            answer.set_exception(Overloaded(f"{WAITING_LIMIT} commands wait for Redis"))
        else:
            self._waiting.append(_Waiting(command, answer, loop.time(), read))
            if self._flusher is None:
                self._flusher = loop.create_task(self._flush())
        return answer

    async def aclose(self) -> None:
        """Fail the commands that wait, let the round trip under way end, close the connection."""
        self._closed = True
        _fail(self._waiting, Unavailable("the server is stopping"))
        self._waiting.clear()
        if self._flusher is not None:
            await self._flusher
        await self._connection.aclose()

    async def _flush(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._round_trip(batch)
        except Exception:  # noqa: BLE001 - our own fault: log it, and let nobody wait for ever
            _log.exception("redis.pipeline_failed")
        finally:
            self._flusher = None
            _fail([*batch, *self._waiting], Unavailable("the commands to Redis were given up"))
            self._waiting.clear()

    def _next_batch(self) -> list[_Waiting]:
        oldest = asyncio.get_running_loop().time() - QUEUE_S
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < BATCH_LIMIT:
            waiting = self._waiting.popleft()
            if waiting.since < oldest:
                _fail([waiting], Overloaded(f"the queue to Redis is full: not sent within {QUEUE_S} s"))
            else:
                batch.append(waiting)
        return batch

    async def _round_trip(self, batch: Sequence[_Waiting]) -> None:
        deadline = min(asyncio.get_running_loop().time() + ROUND_TRIP_S, batch[0].since + ANSWER_S)
        try:
            async with asyncio.timeout_at(deadline):
                answers = await self._connection.exchange([waiting.command for waiting in batch], deadline)
                await self._repeat_forgotten(batch, answers, deadline)
        except NotKept as error:
            _fail(batch, Unavailable(str(error)), error)
            return
        except (RedisError, OSError, TimeoutError) as error:
            await self._connection.drop()
            # The commands that wait would fail in the same way, only later.
            _fail([*batch, *self._waiting], Unavailable(f"Redis does not answer ({type(error).__name__})"), error)
            self._waiting.clear()
            return
        except BaseException:
            await self._connection.drop()  # answers may still come, which belong to no later command
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                _settle(waiting, answer)

    async def _repeat_forgotten(self, batch: Sequence[_Waiting], answers: list[Any], deadline: float) -> None:
        """Load the scripts into a Redis that has restarted, and repeat the commands that needed them, before any later
        command is sent."""
        for _ in range(FORGOTTEN_LIMIT):
            forgotten = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if not forgotten:
                return
            scripts: list[Command] = [("SCRIPT", "LOAD", text) for text in self._scripts.values()]
            repeated = await self._connection.exchange(
                [*scripts, *(batch[index].command for index in forgotten)], deadline
            )
            for index, answer in zip(forgotten, repeated[len(scripts) :], strict=True):
                answers[index] = answer


def _raised(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _settle(waiting: _Waiting, answer: Any) -> None:
    try:
        waiting.answer.set_result(waiting.read(answer))
    except Exception as error:  # noqa: BLE001 - whatever it is, its caller is told, and the others get their answers
        waiting.answer.set_exception(error)


def _fail(group: Sequence[_Waiting] | deque[_Waiting], error: MaruError, cause: BaseException | None = None) -> None:
    for waiting in group:
        if not waiting.answer.done():
            failure = type(error)(error.message)  # a new error for each caller: it carries a traceback
            failure.__cause__ = cause
            waiting.answer.set_exception(failure)
