"""The time for calls that may be several statements, or wait for other calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.domain.errors import Unavailable

WAIT_S = 1.9
"""For a call with all that it waits for: below the 2 s that a caller may be kept waiting."""


@asynccontextmanager
async def deadline() -> AsyncIterator[None]:
    """Raise `Unavailable` after `WAIT_S`."""
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except TimeoutError as error:
        raise Unavailable("PostgreSQL does not answer in time") from error
