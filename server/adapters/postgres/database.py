"""The database of a replica: connections, deadlines, errors, and the identity of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import structlog
from asyncpg import Connection, PostgresError, Record

from server.adapters.postgres import schema
from server.adapters.postgres.connections import SIZE, Connections, connect
from server.adapters.postgres.errors import (
    ANOTHER_LIFE,
    ERRORS,
    NO_SCHEMA,
    NOT_PREPARED,
    is_cut,
    is_outage,
    lasting,
    state,
    unavailable,
)
from server.adapters.postgres.schema import AnotherLife, Identity, SchemaUnusable
from server.adapters.postgres.transactions import transaction

DEADLINE_S = 1.8
"""Every use of the database has ended within this time."""

MAKE_S = 10.0
"""The same at the start, in which the schema is made: some 100 statements, which a busy machine may need long for."""

T = TypeVar("T")

_log = structlog.get_logger("maru.postgres")


class Database:
    """Use as an async context manager. It connects when it is first used: PostgreSQL may come later.

    Whatever goes wrong is `Unavailable` within `DEADLINE_S`, with asyncpg's error as its cause, except for errors of
    the server's own that the work raises. A line is logged when PostgreSQL is lost, and when it is back.
    """

    def __init__(self, url: str, *, size: int = SIZE) -> None:
        self.url = url
        self.identity: Identity | None = None  # of the server that the last new connection led to
        self.life = ""  # of that server; see `maru.life`
        self.on_identity: Callable[[], None] = lambda: None  # called after `identity` has changed
        self.on_start: Callable[[Connection, Identity], Awaitable[None]] | None = None  # asked after a restart
        self.losses = 0  # how often PostgreSQL was lost, since the start
        self._connections = Connections(url, size, self._introduce)
        self._is_known = False  # whether `identity` and `life` are those of now
        self._away = False  # the last use failed, and that was logged
        self._warned = False  # of settings that lose messages
        self._preparing = asyncio.Lock()  # held by the connection that makes the schema

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def problem(self) -> str | None:
        """Return why PostgreSQL will not serve this URL until somebody changes something, as a single line; None if it
        serves, or is only away. The schema is made if it is missing."""
        try:
            async with asyncio.timeout(MAKE_S):
                connection = await connect(self.url)
                try:
                    await schema.prepare(connection)
                    await schema.facts(connection)
                finally:
                    connection.terminate()
        except SchemaUnusable as error:
            return str(error)
        except (ValueError, *ERRORS) as error:
            return lasting(self.url, error)
        return None

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], deadline_s: float = DEADLINE_S, *, reads: bool = False
    ) -> T:
        """Do the work with a connection, and return its result. Raises `Unavailable`, and what the work raises.

        If the work raises `AnotherLife`, or a function of ours refuses for it, the work is done once more. So it is if
        the connection was cut, and the work only `reads`: nobody knows whether a write was committed.
        """
        try:
            async with asyncio.timeout(deadline_s):
                try:
                    return await self._run(work)
                except AnotherLife:
                    self.renew()
                except ERRORS as error:
                    if not (reads and is_cut(error)):
                        raise
                    self._connections.drop()  # the others may be cut, too
                return await self._run(work)
        except (AnotherLife, SchemaUnusable, *ERRORS) as error:
            self._failed(error)
            raise unavailable(error) from error

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self._connections.connection() as connection:
                if not self._is_known:
                    await self._introduce(connection)
                result = await work(connection)
        except PostgresError as error:
            if state(error) == ANOTHER_LIFE:
                raise AnotherLife from error
            raise
        self._works()
        return result

    @asynccontextmanager
    async def connection(self, deadline_s: float = DEADLINE_S) -> AsyncIterator[Connection]:
        """Lend a connection until the deadline; each statement is a transaction of its own."""
        try:
            async with asyncio.timeout(deadline_s), self._connections.connection() as connection:
                if not self._is_known:
                    await self._introduce(connection)
                yield connection
        except (AnotherLife, SchemaUnusable, *ERRORS) as error:
            if state(error) == ANOTHER_LIFE:
                self.renew()
            self._failed(error)
            raise unavailable(error) from error
        self._works()

    @asynccontextmanager
    async def transaction(self, deadline_s: float = DEADLINE_S) -> AsyncIterator[Connection]:
        """Lend a connection with a transaction, which is committed at the end, and rolled back after an error."""
        async with self.connection(deadline_s) as connection, transaction(connection):
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> list[Record]:
        """Run a statement; return its rows."""
        return await self.run(lambda connection: connection.fetch(sql, *arguments))

    async def fetchrow(self, sql: str, *arguments: Any) -> Record | None:
        """Run a statement; return its first row."""
        return await self.run(lambda connection: connection.fetchrow(sql, *arguments))

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """Run a statement; return the first value of its first row."""
        return await self.run(lambda connection: connection.fetchval(sql, *arguments))

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Run a statement; return its tag, such as `DELETE 3`."""
        return await self.run(lambda connection: connection.execute(sql, *arguments))

    async def known(self) -> Identity:
        """Return the identity of PostgreSQL; connect before if that is not known yet. Raises `Unavailable`."""
        if not self._is_known:
            async with self.connection():
                pass
        assert self.identity is not None
        return self.identity

    def check(self, life: str) -> None:
        """Compare the life that a row tells with that which is known. Raises `AnotherLife`."""
        if life != self.life:
            raise AnotherLife

    def renew(self) -> None:
        """Ask for the identity again: an answer did not come from the server that was known."""
        self._is_known = False
        self._connections.renew()

    async def _introduce(self, connection: Connection) -> None:
        async with self._preparing:
            if not self._is_known:
                await schema.prepare(connection)
            found = await schema.facts(connection)
            if self.on_start is not None and self.life not in ("", found.life):
                await self.on_start(connection, found.identity)
            if found.lacking and not self._warned:
                _log.warning("postgres.not_durable", off=" and ".join(found.lacking), remedy="turn them on")
                self._warned = True
            changed = found.identity != self.identity
            self.identity, self.life, self._is_known = found.identity, found.life, True
            if changed:
                self.on_identity()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, AnotherLife):
            return
        if state(error) in NO_SCHEMA | NOT_PREPARED:  # something else stands at this address
            self.renew()
        if is_outage(error) and not self._away:
            self._away = True
            self.losses += 1
            _log.warning("postgres.away", problem=type(error).__name__, sqlstate=state(error))

    def _works(self) -> None:
        if self._away:
            self._away = False
            _log.info("postgres.back")
