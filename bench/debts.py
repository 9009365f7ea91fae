"""What open endpoints of webhooks cost an append: CPU time of this process, and of Redis, with 0, 1 and 4 of them.

    python -m bench.debts [--rounds 40] [--stores sqlite,redis] [--each 1,16]

Logs with each number of endpoints take turns, and the differences of a turn are compared: other work of the machine
meets them all. `paid` turns are those in which a dispatcher pays each debt before the next append. The last line is the
cost of asking an idle store for debts.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.processes import main_thread_s
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.webhooks import RedisWebhooks
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.webhooks import SqliteWebhooks
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.identity import Author, UserId
from server.domain.messages import ID_RANDOM_BYTES, message_id
from server.ports.message_log import MessageLog
from server.ports.webhooks import Webhooks
from tests.harness.redis import RedisProcess

CHANNELS = tuple(ChannelName(f"room:{number}") for number in range(16))
ENDPOINTS = (0, 1, 4)
KEPT = 300
"""Events that a channel keeps, so that no log is larger than another."""
AGE_MS = 10**12
REPEATS = 16
"""Appends of all channels in a turn."""
POLLS = 200

_numbers = count(1)

Log = tuple[MessageLog, Webhooks]


@dataclass(frozen=True, slots=True)
class Work:
    """How many rounds, and messages for each channel at once."""

    rounds: int
    each: tuple[int, ...]


def draft(channel: ChannelName) -> NewMessage:
    """Return a message of 64 characters."""
    at = time.time_ns() // 1_000_000
    return NewMessage(
        channel=channel,
        id=message_id(at, os.urandom(ID_RANDOM_BYTES)),
        author=Author(UserId("user"), "User"),
        text="x" * 64,
        data=None,
        reply_to=None,
        key=None,
        at=at,
    )


async def send(log: MessageLog, each: int) -> None:
    """Append so many messages to each channel, all at once."""
    await asyncio.gather(*(log.append(draft(channel)) for channel in CHANNELS for _ in range(each)))


async def pay(webhooks: Webhooks, log: MessageLog) -> None:
    """Pay all debts; work as much if there are none, so that what follows finds the processor's caches as cold."""
    for number in range(ENDPOINTS[-1]):
        page, _ = await webhooks.debts(f"crm-{number}", None, 1_000)
        for channel in CHANNELS:
            head = (await log.read(channel, 0, 0)).head
            delivered = next((debt.delivered for debt in page if debt.channel == channel), head)
            await webhooks.deliver(f"crm-{number}", channel, delivered, head)


async def compare(name: str, logs: dict[int, Log], cpu: Callable[[], tuple[float, ...]], work: Work) -> None:
    """Print what each number of endpoints adds to an append."""
    for each in work.each:
        for paid in (False, True):
            spent: dict[int, list[list[float]]] = {number: [] for number in logs}
            for _ in range(work.rounds):
                for number, (log, webhooks) in logs.items():
                    total = [0.0] * len(cpu())
                    for _ in range(REPEATS if not paid else REPEATS // 8):
                        if paid:
                            await pay(webhooks, log)
                        before = cpu()
                        await send(log, each)
                        total = [sum_ + now - then for sum_, now, then in zip(total, cpu(), before, strict=True)]
                    sends = (REPEATS if not paid else REPEATS // 8) * len(CHANNELS) * each
                    spent[number].append([part / sends * 1e6 for part in total])
            for number, turns in spent.items():
                own = [statistics.median(part) for part in zip(*turns, strict=True)]
                added = [
                    statistics.median(turn[part] - base[part] for turn, base in zip(turns, spent[0], strict=True))
                    for part in range(len(own))
                ]
                figures = ", ".join(f"{value:.1f} ({more:+.2f})" for value, more in zip(own, added, strict=True))
                state = "paid" if paid else "owed"
                print(
                    f"{name}, {each:2} a channel at once, {state}, {number} endpoints: us a send {figures}", flush=True
                )


async def idle(name: str, webhooks: Webhooks, cpu: Callable[[], tuple[float, ...]]) -> None:
    """Print what it costs to ask for debts if there are none."""
    before = cpu()
    for _ in range(POLLS):
        await webhooks.debts("nobody", None, 100)
    parts = ", ".join(f"{(now - then) / POLLS * 1e6:.0f}" for now, then in zip(cpu(), before, strict=True))
    print(f"{name}, an idle endpoint: us a look {parts}", flush=True)


async def opened(log: MessageLog, webhooks: Webhooks, endpoints: int) -> Log:
    """Open the endpoints."""
    for number in range(endpoints):
        await webhooks.open(f"crm-{number}")
    return log, webhooks


async def sqlite(closing: AsyncExitStack, folder: Path, work: Work) -> None:
    """Measure a file."""
    logs: dict[int, Log] = {}
    for number in ENDPOINTS:
        log = SqliteMessageLog(folder / f"{number}.db", max_events=KEPT, max_age_ms=AGE_MS)
        await closing.enter_async_context(log)
        logs[number] = await opened(log, SqliteWebhooks(log), number)
    await compare("SQLite", logs, lambda: (time.process_time(),), work)
    await idle("SQLite", logs[4][1], lambda: (time.process_time(),))


async def redis(closing: AsyncExitStack, folder: Path, work: Work) -> None:
    """Measure a Redis of its own."""
    process = await closing.enter_async_context(RedisProcess(folder / "redis", ("--appendonly", "no")))
    logs: dict[int, Log] = {}
    for number in ENDPOINTS:
        prefix = f"bench-{number}:"
        log = RedisMessageLog(process.url, max_events=KEPT, max_age_ms=AGE_MS, prefix=prefix)
        await closing.enter_async_context(log)
        webhooks = RedisWebhooks(log, process.url, prefix=prefix)
        closing.push_async_callback(webhooks.aclose)
        logs[number] = await opened(log, webhooks, number)

    def cpu() -> tuple[float, ...]:
        return time.process_time(), main_thread_s(process.pid)

    await compare("Redis (the server's, Redis')", logs, cpu, work)
    await idle("Redis (the server's, Redis')", logs[4][1], cpu)


async def main() -> None:
    """Measure the stores that are named, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--stores", default="sqlite,redis")
    parser.add_argument("--each", default="1,16", help="messages a channel at once")
    options = parser.parse_args()
    work = Work(options.rounds, tuple(map(int, options.each.split(","))))
    for store in options.stores.split(","):
        async with AsyncExitStack() as closing:
            folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
            await {"sqlite": sqlite, "redis": redis}[store](closing, folder, work)


if __name__ == "__main__":
    asyncio.run(main())
