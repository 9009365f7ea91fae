"""A connection to the master of Redis: batches of commands out, their answers back.

An address or a sentinel may lead to another node from one moment to the next, while the old one lives on and keeps its
connections. So a connection asks for the node's role when it connects, and with a batch each 5 s.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, RedisError

from server.adapters.redis.keeping import Keeping
from server.adapters.redis.link import close, make_connection, open_connection, write
from server.adapters.redis.master import Master, NotMaster

ROLE_S = 5.0
"""How long the role of the node is believed."""

ROLE = ("ROLE",)

Command = tuple[Any, ...]
"""Words of `str`, `bytes` and `int`; and `RUN`."""


class _Run:
    """The type of `RUN`."""


RUN: Final = _Run()
"""A word of a command, at most one, that stands for the run id of the Redis process: replaced when it is sent."""

RUN_ID_CHARS = 10
"""Of the 40 of a run id: 40 bits, enough to tell the starts of a Redis apart."""

UNKNOWN_RUN = "0" * RUN_ID_CHARS
"""The run id if the user of the connection may not ask for it (INFO)."""


class Connection:
    """A connection of `client`, which it owns. It connects when a batch is sent, again if Redis has closed it. With
    `keeping` each batch is answered only if it is kept."""

    def __init__(self, client: Redis, master: Master, keeping: Keeping | None = None) -> None:
        self._client, self._master, self._keeping = client, master, keeping
        self._connection: AbstractConnection | None = None  # made for the first batch
        self._generation = master.generation  # when it connected
        self._run = UNKNOWN_RUN  # of the process that the connection leads to
        self._checked = 0.0  # when the role was asked for, on the loop's clock

    async def exchange(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Send the commands; return Redis' answers, of which each may be a `ResponseError`. Raises `RedisError`
        (`NotMaster` if the node must not be used any more) or `OSError`; `NotKept` if all was answered. After any other
        error, and if cancelled, `drop` must be called: answers may be on their way. `deadline` is the caller's, on the
        loop's clock."""
        connection = await self._ready()
        waits, roles = self._checks(deadline)
        sent = [*(_addressed(command, self._run) for command in commands), *waits, *roles]
        answers = await send(connection, sent)
        behind = len(commands) + len(waits)
        await self._judge(connection, answers[len(commands) : behind], answers[behind:])
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            self._master.renew(self._generation, "a node refuses to write")
        return answers[: len(commands)]

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
        if self._connection.is_connected and await self._is_over(self._connection):
            await self.drop()
        if not self._connection.is_connected:
            self._generation = self._master.generation
            await open_connection(self._connection)
            self._run, role = await introduce(self._connection, self._master)
            if self._keeping is not None:
                self._keeping.connected(role)
            self._checked = asyncio.get_running_loop().time()
        return self._connection

    async def _is_over(self, connection: AbstractConnection) -> bool:
        return self._generation != self._master.generation or await connection.can_read()

    def _checks(self, deadline: float) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
        """Return the commands to send behind a batch: those of `Keeping`, and ROLE if it is time for it."""
        now, keeping = asyncio.get_running_loop().time(), self._keeping
        waits = () if keeping is None else keeping.checks(deadline - now)
        if now - self._checked < ROLE_S and not (keeping is not None and keeping.by_sentinel):
            return waits, ()
        self._checked = now
        return waits, (ROLE,)

    async def _judge(self, connection: AbstractConnection, waits: Sequence[Any], roles: Sequence[Any]) -> None:
        try:
            if any(map(is_replica, roles)):
                raise NotMaster("the node is a replica now")
            if self._keeping is not None:
                await self._keeping.judge(waits, roles, connection)
        except NotMaster as error:
            self._master.renew(self._generation, str(error))
            raise


async def send(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send commands over a connection that nobody else uses; return the answers, also those that are errors."""
    await write(connection, *commands)
    # The parser itself: the connection's own `read_response` starts a timer for each answer and raises an error
    # answer. Here the batch has a single deadline, and the error of a command is an answer like any other.
    parser: Any = connection._parser  # noqa: SLF001
    return [await parser.read_response() for _ in commands]


async def introduce(connection: AbstractConnection, master: Master) -> tuple[str, Any]:
    """Return the short run id of the node that a new connection leads to, and its answer to ROLE. Raises `NotMaster` if
    it is a replica. Whatever the user may not ask is not known."""
    history = (("INFO", "replication"),) if master.by_history else ()
    role, server, memory, *told = await send(connection, [ROLE, ("INFO", "server"), ("INFO", "memory"), *history])
    if is_replica(role):
        raise NotMaster("the node is a replica")
    master.learn_policy(_field(memory, "maxmemory_policy"))
    run = _field(server, "run_id")
    master.learn_run(run)
    for each in told if run is not None else ():
        # A node that was promoted, demoted and promoted again is the same process with other writes.
        run = hashlib.sha1(f"{run} {_field(each, 'master_replid')}".encode(), usedforsecurity=False).hexdigest()
    return (run or UNKNOWN_RUN)[:RUN_ID_CHARS], role


def is_replica(role: Any) -> bool:
    """Return whether an answer to ROLE is that of a replica. An answer that refuses to tell is not."""
    return isinstance(role, list) and role[0] != b"master"


def _addressed(command: Command, run: str) -> Command:
    if RUN not in command:
        return command
    place = command.index(RUN)  # it stands near the beginning of a command that may have hundreds of words
    return (*command[:place], run, *command[place + 1 :])


def _field(info: Any, name: str) -> str | None:
    """Return a field of an answer to INFO; None if it is not there, or the answer is an error."""
    found = re.search(rf"^{name}:(\S+)".encode(), info, re.MULTILINE) if isinstance(info, bytes) else None
    return found[1].decode() if found else None
