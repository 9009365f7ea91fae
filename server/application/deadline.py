"""The promise that a client waits at most 2 s for the log or the broker (P1)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.domain.errors import Unavailable

COMMAND_DEADLINE_S = 1.8
"""Of all the waiting inside one command: the rest of the 2 s belongs to the way there and back."""


@asynccontextmanager
async def deadline(seconds: float = COMMAND_DEADLINE_S) -> AsyncIterator[None]:
    """Turn a wait that is too long into `Unavailable`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable(f"no answer from the log or the broker within {seconds} s") from error
