"""A few connections, opened when they are needed. None is used again after an error that leaves it in doubt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
from asyncpg import Connection, InterfaceError, PostgresError

from server.adapters.postgres.errors import BROKEN
from server.adapters.postgres.transactions import transaction

CONNECT_TIMEOUT_S = 0.9
"""A frozen or unreachable PostgreSQL is an outage and no hang: a whole command has 2 s."""

SIZE = 8
"""Connections of a replica to PostgreSQL, beside those that listen."""

PREPARED = 64
"""Statements that a direct connection keeps prepared: all of ours. Without, a read costs PostgreSQL three
times as much."""

SETTINGS = """
SET statement_timeout = '1500ms';
SET lock_timeout = '1000ms';
SET idle_in_transaction_session_timeout = '2000ms';
SET client_connection_check_interval = '500ms';
SET jit = off;
SET bytea_output = 'hex'
"""
"""What no connection goes without. Behind a PgBouncer in transaction mode a statement may meet a connection of the
server that has not had them: set them there, too, by `connect_query` (docs/engines/postgres.md)."""

_ARRAYS = "SELECT $1::bigint[], $2::int[], $3::bytea[], $4::bool[]"
"""A statement with all types of arguments that asyncpg does not know of itself."""


async def connect(url: str, prepared: int = 0) -> Connection:
    """Open a connection, which the caller ends by `terminate`. Raises `errors.ERRORS`.

    `prepared` is how many statements are kept prepared by name: behind a PgBouncer in transaction mode none may be,
    since it would lead their use to another connection.
    """
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, statement_cache_size=prepared)
    except (PostgresError, InterfaceError, OSError, TimeoutError):
        raise
    except Exception as error:  # asyncpg meets a server that dies while it connects with errors of its own faults
        raise InterfaceError(f"{type(error).__name__} while connecting") from error
    try:
        await connection.execute(SETTINGS)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def is_direct(url: str) -> bool:
    """Return whether the URL leads to PostgreSQL itself: a pooler makes up the process ids by which clients cancel.
    Raises `errors.ERRORS`."""
    connection = await connect(url)
    try:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return pid == connection.get_server_pid()
    finally:
        connection.terminate()


async def learn(connection: Connection) -> None:
    """Let asyncpg ask now for the types that it does not know. Raises `errors.ERRORS`.

    With JIT, PostgreSQL may need seconds for that query. asyncpg turns it off before, as our settings do; behind a
    pooler the query meets another connection of the server, unless all is one transaction.
    """
    async with transaction(connection):
        await connection.execute("SET LOCAL jit = off")
        await connection.fetch(_ARRAYS, None, None, None, None)


class Connections:
    """At most `size` connections. `introduce` is asked for each new connection, before it is used."""

    def __init__(self, url: str, size: int, introduce: Callable[[Connection], Awaitable[None]]) -> None:
        self._url = url
        self._introduce = introduce
        self._room = asyncio.Semaphore(size)
        self._idle: list[Connection] = []  # the last used last
        self._opened: set[Connection] = set()
        self._prepared: int | None = None  # None until it is known whether the URL leads through a pooler
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. After an error it is kept only if PostgreSQL has answered and no transaction is open."""
        async with self._room:
            connection = self._take() or await self._open()
            try:
                yield connection
            except BaseException as error:
                if not isinstance(error, Exception) or isinstance(error, BROKEN):
                    connection.terminate()
                raise
            finally:
                self._put_back(connection)

    def close(self) -> None:
        """End all connections, also those that are lent."""
        self._closed = True
        for connection in self._opened:
            connection.terminate()
        self._opened.clear()
        self._idle.clear()

    def renew(self) -> None:
        """End the connections that are not lent, and look again at what the URL leads to."""
        self._prepared = None
        self.drop()

    def drop(self) -> None:
        """End the connections that are not lent."""
        while self._idle:
            self._end(self._idle.pop())

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._opened.discard(connection)
        return None

    async def _open(self) -> Connection:
        if self._closed:
            raise InterfaceError("closed")
        if self._prepared is None:
            self._prepared = PREPARED if await is_direct(self._url) else 0
        connection = await connect(self._url, self._prepared)
        self._opened.add(connection)
        try:
            await learn(connection)
            await self._introduce(connection)
        except BaseException:
            self._end(connection)
            raise
        return connection

    def _put_back(self, connection: Connection) -> None:
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self._end(connection)
        else:
            self._idle.append(connection)

    def _end(self, connection: Connection) -> None:
        connection.terminate()
        self._opened.discard(connection)
