"""Commands to Redis in order, many to a round trip."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from server.adapters.redis.connection import RUN, Command
from server.adapters.redis.exchange import Exchange
from server.adapters.redis.master import Master
from server.adapters.redis.queue import Queue, copy_of
from server.domain.errors import MaruError, Unavailable

__all__ = ["RUN", "Pipeline"]

Read = Callable[[Any], Any]
"""Makes the caller's result of Redis' answer, which may be a `ResponseError`; or raises."""


@dataclass(slots=True, eq=False)
class Asked:
    """A command that was submitted."""

    command: Command
    answer: asyncio.Future[Any]
    since: float
    read: Read

    def fail(self, error: MaruError) -> None:
        if not self.answer.done():
            self.answer.set_exception(copy_of(error))

    def refuse(self, error: MaruError) -> None:
        self.fail(error)

    def settle(self, answer: Any) -> None:
        if self.answer.done():
            return
        try:
            self.answer.set_result(self.read(answer))
        except Exception as error:  # noqa: BLE001 - whatever it is, its caller is told, and the others get their answers
            self.answer.set_exception(error)


class Pipeline(Queue[Asked]):
    """Sends commands in order over a connection of `client`, which it owns. Close it by `aclose`.

    `master` and `keep` are those of `Exchange`.
    """

    def __init__(self, client: Redis, master: Master | None = None, keep: int | None = None) -> None:
        super().__init__(Exchange(client, master, keep))

    def together(self, keys: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
        """Return the keys in groups of which each may be given to a single script."""
        return (keys,)

    def script(self, text: bytes) -> str:
        """Return the script's hash for EVALSHA. A Redis that has restarted is sent the text again."""
        return self._exchange.script(text)

    async def execute(self, *command: Any) -> Any:
        """Send a command behind those that were submitted before. Returns Redis' answer, within 2 s.

        A word `RUN` is sent as the first 10 characters of the run id of the Redis process.

        Raises `Unavailable` if Redis can't be reached (the command may have been executed), `Overloaded` if too many
        commands wait (it has not been executed), or the `ResponseError` that Redis answers with. Cancelling gives up
        the answer, not the command.
        """
        return await self.submit(command, _raised)

    async def ask(self, *command: Any) -> Any:
        """As `execute`, but a refusal is `Unavailable`, too."""
        try:
            return await self.submit(command, _raised)
        except ResponseError as error:
            raise Unavailable(f"Redis refuses ({type(error).__name__})") from error

    def submit(self, command: Command, read: Read) -> asyncio.Future[Any]:
        """As `execute`, without a task or a coroutine. The command has its place in the order when this returns; the
        future gets the result of `read`."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.put(Asked(command, answer, loop.time(), read))
        return answer

    async def _send(self, batch: Sequence[Asked], deadline: float) -> None:
        answers = await self._exchange.round_trip([waiting.command for waiting in batch], deadline)
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.settle(answer)


def _raised(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer
