"""Transactions that end in time, whatever has become of PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncpg import Connection, InterfaceError, InternalClientError

_IN_DOUBT = (InterfaceError, InternalClientError, OSError, TimeoutError)
"""Errors after which PostgreSQL may not answer (`errors.BROKEN`)."""


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction: committed at the end, rolled back after an error.

    If the connection is in doubt, or the caller has given up, it is ended instead, and PostgreSQL rolls back by itself:
    asyncpg's own context would wait for the answer to ROLLBACK, from a frozen server for ever.
    """
    begun = connection.transaction()
    await begun.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, _IN_DOUBT) and not connection.is_closed():
            await begun.rollback()
        else:
            connection.terminate()
        raise
    await begun.commit()
