"""Commands to Redis in order, many to a round trip.

What is submitted while a round trip is under way goes together in the next: a command alone is sent at once, and under
load one round trip carries hundreds.
"""

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from server.adapters.redis.link import close, make_connection
from server.domain.errors import MaruError, Overloaded, Unavailable

WAITING_LIMIT = 10_000
"""Commands that may wait; over it the caller is told to back off, and nothing was sent."""

BATCH_LIMIT = 256
"""Commands to a round trip: some milliseconds of Redis' time, so that others get their turn."""

TURN_S = 1.4
"""A command that has waited longer for its turn is not sent any more."""

ROUND_TRIP_S = 1.0
"""At the most, with connecting, where that is needed; shorter where the batch has waited."""

ANSWER_S = 1.8
"""From the call to its answer or error: below the 2 s that a client may be kept waiting."""

FORGOTTEN_LIMIT = 3
"""How often a batch is repeated for scripts that Redis has forgotten, again and again."""

Command = tuple[Any, ...]
"""Of `str`, `bytes` and `int`."""

_log = structlog.get_logger("maru.redis")


Read = Callable[[Any], Any]
"""Makes of Redis' answer, which may be a `ResponseError`, what the caller wants of it; or raises."""


@dataclass(slots=True)
class _Waiting:
    command: Command
    answer: asyncio.Future[Any]
    since: float
    read: Read


class Pipeline:
    """Ordered commands over one connection of `client`, which it owns. Close it by `aclose`; what waits then fails."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._connection: AbstractConnection | None = None
        self._scripts: dict[str, bytes] = {}
        self._waiting: deque[_Waiting] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    def script(self, text: bytes) -> str:
        """Return the script's hash for EVALSHA. Redis forgets scripts when it restarts: then it is told again."""
        name = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._scripts[name] = text
        return name

    async def execute(self, *command: str | int | bytes) -> Any:
        """Send a command behind those that were submitted before; return Redis' answer, within 2 s.

        Raises `Unavailable` where Redis can't be reached (the command may have been executed), `Overloaded` where too
        much waits (it has not), or the `ResponseError` that Redis answers with. Cancelling gives up the answer, not
        the command.
        """
        return await self.submit(command, _raised)

    def submit(self, command: Command, read: Read) -> asyncio.Future[Any]:
        """As `execute`, without a task or a coroutine for who only wants to wait: the command has its place in the
        order when this returns, and its answer goes through `read`."""
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
        """Let the round trip under way end, fail what waits, close the connection."""
        self._closed = True
        _fail(self._waiting, Unavailable("the server is stopping"))
        self._waiting.clear()
        if self._flusher is not None:
            await self._flusher
        await self._drop()
        await close(self._client)

    async def _flush(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._round_trip(batch)
        except Exception:  # noqa: BLE001
            # A fault of ours: it must be seen, and nobody must wait for ever because of it.
            _log.exception("redis.pipeline_failed")
        finally:
            self._flusher = None
            _fail([*batch, *self._waiting], Unavailable("the commands to Redis were given up"))
            self._waiting.clear()

    def _next_batch(self) -> list[_Waiting]:
        oldest = asyncio.get_running_loop().time() - TURN_S
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < BATCH_LIMIT:
            waiting = self._waiting.popleft()
            if waiting.since < oldest:
                _fail([waiting], Overloaded(f"Redis is too slow: no turn within {TURN_S} s"))
            else:
                batch.append(waiting)
        return batch

    async def _round_trip(self, batch: Sequence[_Waiting]) -> None:
        try:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout(min(ROUND_TRIP_S, batch[0].since + ANSWER_S - now)):
                answers = await self._exchange([waiting.command for waiting in batch])
                await self._repeat_forgotten(batch, answers)
        except (RedisError, OSError, TimeoutError) as error:
            await self._drop()
            # Those that wait would only wait for the same.
            _fail([*batch, *self._waiting], Unavailable(f"Redis does not answer ({type(error).__name__})"), error)
            self._waiting.clear()
            return
        except BaseException:
            await self._drop()  # who knows which answers are still to come
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                _settle(waiting, answer)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            await self._drop()  # a demoted master: its name may lead to the new one by now

    async def _repeat_forgotten(self, batch: Sequence[_Waiting], answers: list[Any]) -> None:
        """Tell a Redis that has restarted its scripts, and send what needed them before anything that came later."""
        for _ in range(FORGOTTEN_LIMIT):
            forgotten = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if not forgotten:
                return
            scripts: list[Command] = [("SCRIPT", "LOAD", text) for text in self._scripts.values()]
            repeated = await self._exchange([*scripts, *(batch[index].command for index in forgotten)])
            for index, answer in zip(forgotten, repeated[len(scripts) :], strict=True):
                answers[index] = answer

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._ready()
        await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), False)
        # The parser itself: the connection's own `read_response` adds a deadline and an exception to each answer, and
        # here the round trip has its deadline, and a refusal of one command is an answer like others.
        parser: Any = connection._parser  # noqa: SLF001
        return [await parser.read_response() for _ in commands]

    async def _ready(self) -> AbstractConnection:
        """The connection; a new one where Redis has closed it since."""
        if self._connection is None:
            self._connection = make_connection(self._client)
        elif self._connection.is_connected and await self._connection.can_read():
            await self._drop()
        await self._connection.connect()  # type: ignore[no-untyped-call]
        return self._connection

    async def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)


def _raised(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _settle(waiting: _Waiting, answer: Any) -> None:
    try:
        waiting.answer.set_result(waiting.read(answer))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told to who asked, and the others get theirs
        waiting.answer.set_exception(error)


def _fail(group: Sequence[_Waiting] | deque[_Waiting], error: MaruError, cause: BaseException | None = None) -> None:
    for waiting in group:
        if not waiting.answer.done():
            failure = type(error)(error.message)  # each its own: an exception that is raised carries its traceback
            failure.__cause__ = cause
            waiting.answer.set_exception(failure)
