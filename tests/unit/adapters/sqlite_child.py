"""A process that appends to a SQLite log, to be killed or starved: run as a program with the file's path.

`kill`: 16 tasks append until the process is killed; each acknowledged event is one line, `offset key`.
`starve`: appends until the file system refuses, then gets its room back; prints what happened as JSON.
`open`: opens the log as nobody, where the process is root; prints why that failed.
`migrate`: opens a log of an earlier schema, and is killed before the statement with the number that is given.
`react`: reacts to the first message, and is killed before the event is written that tells of it.
"""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from server.adapters.sqlite import migration
from server.adapters.sqlite.database import LogUnusable
from server.adapters.sqlite.growth import Growth
from server.adapters.sqlite.reactions import SqliteReactions
from server.domain.drafts import Reaction
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from tests.doubles.samples import NOW_MS, ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import log_at

NOBODY = 65_534

ROOM_BYTES = 300_000
"""How large a file may grow while the process starves."""


async def append_until_killed(path: Path) -> None:
    """Append for ever; `os.write`, so that a line is out before the next append begins."""
    start = int.from_bytes(os.urandom(3)) * 200_000  # ids and keys of its own in each run

    async def sender(number: int) -> None:
        for i in range(10_000):
            draft = new_message(start + number * 10_000 + i, key=f"{start}-{number}-{i}")
            appended = await log.append(draft)
            os.write(1, f"{appended.event.offset} {draft.key}\n".encode())

    async with log_at(path) as log, asyncio.TaskGroup() as tasks:
        for number in range(16):
            tasks.create_task(sender(number))


async def starve(path: Path) -> None:
    """Append until nothing fits, then again with room."""
    acked: list[int] = []

    async def append(number: int) -> str:
        """The cause of a refusal, or nothing."""
        try:
            acked.append((await log.append(new_message(number, text="x" * 2_000))).event.offset)
        except Unavailable as error:
            return type(error.__cause__).__name__
        return ""

    async with log_at(path) as log:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
        refusals: list[str] = []
        for number in range(1_000):
            refusals.append(await append(number))
            if all(refusals[-20:]):  # at first, the WAL makes room by being written back
                break
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        later = [await append(number) for number in range(2_000, 2_010)]
    print(json.dumps({"acked": acked, "last": refusals[-20:], "later": later}))  # noqa: T201


async def open_as_nobody(path: Path) -> None:
    """Permissions do not bind root: become a user that they bind."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        async with log_at(path):
            pass
    except LogUnusable as error:
        print(error)  # noqa: T201


async def migrate(path: Path) -> None:
    """Die within the transaction of the migration."""
    statements = count()
    execute = migration._execute  # noqa: SLF001  # the place of the fault

    def execute_some(db: sqlite3.Connection, script: str) -> None:
        for statement in script.split(";"):
            if next(statements) == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
            execute(db, statement)

    migration._execute = execute_some  # noqa: SLF001
    async with log_at(path):
        pass


async def react(path: Path) -> None:
    """Die when the reaction is a row, and its event is none yet."""

    def die(growth: Growth) -> None:
        del growth
        os.kill(os.getpid(), signal.SIGKILL)

    async with log_at(path) as log:
        reactions = SqliteReactions(log)
        await reactions.react(Reaction(ROOM, some_id(1), "👍", UserId("alice"), True, NOW_MS))
        Growth.save = die  # type: ignore[method-assign, assignment]
        await reactions.react(Reaction(ROOM, some_id(1), "👍", UserId("bob"), True, NOW_MS))


MODES: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "kill": append_until_killed,
    "starve": starve,
    "open": open_as_nobody,
    "migrate": migrate,
    "react": react,
}

if __name__ == "__main__":
    asyncio.run(MODES[sys.argv[1]](Path(sys.argv[2])))
