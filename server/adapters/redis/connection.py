"""A connection to Redis: batches of commands out, their answers back, and the id of the process that it leads to."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from server.adapters.redis.link import close, make_connection

Command = tuple[Any, ...]
"""Words of `str`, `bytes` and `int`; and `RUN`."""


class _Run:
    """The type of `RUN`."""


RUN: Final = _Run()
"""A word of a command that stands for the run id of the Redis process: replaced when the command is sent."""

RUN_ID_CHARS = 10
"""Of the 40 of a run id: 40 bits, enough to tell the starts of a Redis apart."""

UNKNOWN_RUN = "0" * RUN_ID_CHARS
"""The run id if the user of the connection may not ask for it (INFO)."""


class Connection:
    """A connection of `client`, which it owns. It connects when a batch is sent, again if Redis has closed it."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._connection: AbstractConnection | None = None  # made for the first batch
        self._run = UNKNOWN_RUN  # of the process that the connection leads to

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands; return Redis' answers, of which each may be a `ResponseError`. Raises `RedisError` or
        `OSError`. After any error, and if cancelled, `drop` must be called: answers may be on their way."""
        connection = await self._ready()
        return await _answers(connection, [_addressed(command, self._run) for command in commands])

    async def drop(self) -> None:
        """Disconnect. The next batch connects again."""
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Disconnect, and close the client."""
        await self.drop()
        await close(self._client)

    async def _ready(self) -> AbstractConnection:
        if self._connection is None:
            self._connection = make_connection(self._client)
        elif self._connection.is_connected and await self._connection.can_read():
            await self.drop()
        if not self._connection.is_connected:
            await self._connection.connect()  # type: ignore[no-untyped-call]
            [server] = await _answers(self._connection, [("INFO", "server")])
            self._run = _run_id(server)
        return self._connection


async def _answers(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), False)
    # The parser itself: the connection's own `read_response` starts a timer for each answer and raises an error
    # answer. Here the batch has a single deadline, and the error of a command is an answer like any other.
    parser: Any = connection._parser  # noqa: SLF001
    return [await parser.read_response() for _ in commands]


def _addressed(command: Command, run: str) -> Command:
    if RUN not in command:
        return command
    return tuple(run if word is RUN else word for word in command)


def _run_id(info: bytes | ResponseError) -> str:
    """Return the short run id of an answer to INFO. Without the right to ask there is none."""
    if isinstance(info, ResponseError):
        return UNKNOWN_RUN
    _, _, rest = info.partition(b"\nrun_id:")
    return rest[:RUN_ID_CHARS].decode() or UNKNOWN_RUN
