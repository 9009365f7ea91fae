"""Shared parts of the tests of the SQLite log."""

import asyncio
from pathlib import Path

from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.appending import Appended
from server.domain.errors import MaruError
from tests.doubles.samples import HOUR_MS, new_message

DEADLINE_S = 10.0


def log_at(path: Path) -> SqliteMessageLog:
    """A log without a bound that these tests would meet."""
    return SqliteMessageLog(path, max_events=1_000_000, max_age_ms=1_000 * HOUR_MS)


async def outcome(log: SqliteMessageLog, number: int) -> Appended | type[MaruError]:
    """The outcome of appending a message."""
    try:
        return await log.append(new_message(number, key=f"k{number}"))
    except MaruError as error:
        return type(error)


async def recovered(log: SqliteMessageLog, number: int) -> Appended:
    """Append a message until it is written."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            result = await outcome(log, number)
            if isinstance(result, Appended):
                return result
