"""Measure what presence, marks and debts cost a PostgreSQL: CPU time of all its processes, for each item.

    python -m bench.postgres_people

The machine decides, and whatever else runs on it: take the ratios.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from server.adapters.postgres.database import Database
from server.adapters.postgres.marks import PostgresMarks
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.webhooks import PostgresWebhooks
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from tests.contracts.presence_stores import InPostgres, SharingReplica
from tests.doubles.samples import HOUR_MS, new_message
from tests.harness.postgres import PostgresProcess

USERS = [UserId(f"user-{number}") for number in range(10_000)]
ROOMS = [ChannelName(f"room:{number}") for number in range(50)]
CROWD = ChannelName("crowd")
AT_ONCE = 64

_numbers = count(1)


def cpu_s(postgres: PostgresProcess) -> float:
    """The CPU time of the server with all its processes, those that have ended, too."""
    ticks = 0
    children = Path(f"/proc/{postgres.pid}/task/{postgres.pid}/children").read_text().split()
    for pid in (str(postgres.pid), *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15] if pid == str(postgres.pid) else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def told(postgres: PostgresProcess, label: str, items: int) -> AsyncIterator[None]:
    """Print what an item cost."""
    spent, own, began = cpu_s(postgres), time.process_time(), time.perf_counter()
    yield
    spent, own, took = cpu_s(postgres) - spent, time.process_time() - own, time.perf_counter() - began
    each = [f"{seconds * 1e6 / items:.0f} us" for seconds in (spent, own, took)]
    print(f"{label}: PostgreSQL {each[0]}, the replica {each[1]}, waited {each[2]}")


async def send(log: PostgresMessageLog, messages: int) -> None:
    """Append messages, 64 at once."""
    for _ in range(messages // AT_ONCE):
        drafts = [new_message(number := next(_numbers), ROOMS[number % len(ROOMS)]) for _ in range(AT_ONCE)]
        await asyncio.gather(*(log.append(replace(draft, key=None)) for draft in drafts))


async def people(postgres: PostgresProcess) -> None:
    """Measure appends, marks and debts."""
    async with (
        Database(postgres.url) as db,
        PostgresMessageLog(db, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as log,
    ):
        await send(log, 2_000)
        marks, webhooks = PostgresMarks(log), PostgresWebhooks(log)
        async with told(postgres, "an append", 6_400):
            await send(log, 6_400)
        for endpoint in ("one", "two"):
            await webhooks.open(endpoint)
        async with told(postgres, "the same with two endpoints open", 6_400):
            await send(log, 6_400)
        async with told(postgres, "a channel of 50 whose marks are read at once", 100 * len(ROOMS)):
            for _ in range(100):
                await marks.marks(USERS[0], ROOMS)
        async with told(postgres, "a mark moved", 500):
            for number in range(500):
                await marks.mark(ROOMS[number % len(ROOMS)], USERS[number], number)


async def enter(replica: SharingReplica, entries: Sequence[tuple[ChannelName, Sequence[UserId]]], at_once: int) -> None:
    """Enter users."""
    for start in range(0, len(entries), at_once):
        part = entries[start : start + at_once]
        await asyncio.gather(*(replica.presence.enter(name, dict.fromkeys(users, "A name")) for name, users in part))


async def presence(postgres: PostgresProcess) -> None:
    """Measure rosters and sessions."""
    deployment = InPostgres(postgres.url)
    one, two = await deployment.open(), await deployment.open()
    crowd = [(CROWD, USERS[start : start + 64]) for start in range(0, len(USERS), 64)]
    pairs = [(ChannelName(f"pair:{number % 1_000}"), (USERS[number],)) for number in range(5_000)]
    for replica, label in ((one, "entered"), (two, "entered by a second replica")):
        async with told(postgres, f"a user of 64 in a call, {label}", len(USERS)):
            await enter(replica, crowd, 1)
        async with told(postgres, f"a user in a call, {label}", len(pairs)):
            await enter(replica, pairs, 250)
    async with told(postgres, "sessions of a user, 1,000 in a call", len(USERS)):
        for start in range(0, len(USERS), 1_000):
            await one.online.count(dict.fromkeys(USERS[start : start + 1_000], 1))
    for dead, living, label in ((two, one, "the user stays"), (one, two, "the user leaves")):
        await deployment.end_lease(dead.holding.name)
        async with told(postgres, f"an entry of a dead replica, {label}", len(USERS) + len(pairs)):
            await living.look()
    await deployment.aclose()


async def main() -> None:
    """Measure with a PostgreSQL of its own, which writes to the disk."""
    async with PostgresProcess({"fsync": "on"}) as postgres:
        await people(postgres)
        await presence(postgres)


if __name__ == "__main__":
    asyncio.run(main())
