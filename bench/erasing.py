"""Erasing very many messages of a user: how long it takes, and how long others wait for their acks meanwhile.

    python -m bench.erasing [--messages 100000] [--channels 20] [--store sqlite | redis] [--limits]

It writes the messages into a store of its own, starts a server on it, lets 20 others send twice a second in the same
channels, and asks for the erasure. `--limits`: with the limits that are on by default, which slow the erasure down.
"""

import argparse
import asyncio
import os
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.identity import Author, UserId
from server.domain.messages import ID_RANDOM_BYTES, message_id
from server.ports.message_log import MessageLog
from tests.clients.raw import RawSocket
from tests.harness.redis import RedisProcess
from tests.harness.scrape import TEXT, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

KEY = "key-of-a-backend-0123456789"
FOR_EVER_MS = 10 * 365 * 86_400_000
HISTOGRAMS = ("maru_command_seconds", "maru_loop_lag_seconds", "maru_publish_to_write_seconds")
EVERYTHING = 1_000_000
"""Events of a channel that are kept."""
BATCH = 200
OTHERS = 20
EVERY_S = 0.5
SETTLE_S = 5.0


def draft(channel: ChannelName) -> NewMessage:
    """Return a message of 100 characters."""
    now = time.time_ns() // 1_000_000
    id = message_id(now, os.urandom(ID_RANDOM_BYTES))
    return NewMessage(channel, id, Author(UserId("alice"), "Alice"), "x" * 100, None, None, os.urandom(8).hex(), now)


async def seed(log: MessageLog, channels: Sequence[ChannelName], messages: int) -> None:
    """Write the messages of the user."""
    for start in range(0, messages, BATCH):
        drafts = [draft(channels[number % len(channels)]) for number in range(start, min(start + BATCH, messages))]
        await asyncio.gather(*map(log.append, drafts))


class Others:
    """Users who send, and note how long their acks took."""

    def __init__(self) -> None:
        self.waits = list[float]()
        self._over = asyncio.Event()

    async def talk(self, server: ServerProcess, number: int, channel: ChannelName) -> None:
        """Send until the end, as a member of the channel; events are read by another task."""
        client = await RawSocket.chat(server.port, token(f"user-{number}", {"*": ["join", "send"]}))
        await client.ask("channel:join", {"channel": channel})
        while not self._over.is_set():
            began = time.perf_counter()
            await client.ask("message:send", {"channel": channel, "text": "hello"})
            self.waits.append(time.perf_counter() - began)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._over.wait()
            except TimeoutError:
                continue
        client.vanish()

    def end(self) -> None:
        """Let them stop."""
        self._over.set()

    def take(self) -> str:
        """Return the waits since the last call, in words."""
        waits, self.waits = self.waits, []
        cuts = statistics.quantiles(waits, n=100)
        p50, p99, most = (round(wait * 1000, 1) for wait in (cuts[49], cuts[98], max(waits)))
        return f"{len(waits)} acks, p50 {p50} ms, p99 {p99} ms, max {most} ms"


async def look(server: ServerProcess) -> list[dict[float, float]]:
    """Return histograms of the server: how many times were up to each bound."""
    text = await scraped(server.internal_port, TEXT)
    found = (re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\S+)$', text, re.MULTILINE) for name in HISTOGRAMS)
    return [{float(bound): float(number) for bound, number in each} for each in found]


def p99(before: dict[float, float], after: dict[float, float]) -> str:
    """Return the bound that 99 % of the times between two looks are not above."""
    grown = {bound: number - before[bound] for bound, number in after.items()}
    return f"{min(bound for bound, number in grown.items() if number >= 0.99 * max(grown.values())) * 1000:.0f} ms"


async def erase(server: ServerProcess) -> dict[str, Any]:
    """Ask until it is done."""
    url = f"http://127.0.0.1:{server.internal_port}/api/v1/users/alice/messages"
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "bench"}
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.delete(url, headers=headers) as answer:
                body: dict[str, Any] = await answer.json()
            if body["done"]:
                return body
            print(f"  {body['erased']} so far", flush=True)


async def filled(options: argparse.Namespace, folder: Path, channels: Sequence[ChannelName]) -> dict[str, str]:
    """Write the messages into the file of a server, or into the Redis there; return the log's settings."""
    if options.store == "redis":
        url = f"redis://127.0.0.1:{options.port}"
        log: Any = RedisMessageLog(url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS)
    else:
        url, log = "", SqliteMessageLog(folder / "maru.db", max_events=EVERYTHING, max_age_ms=FOR_EVER_MS)
    async with log:
        await seed(log, channels, options.messages)
    return {"MARU_REDIS_URL": url} if url else {}


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Write, start, talk, erase, tell."""
    channels = [ChannelName(f"room:{number}") for number in range(options.channels)]
    limits = "{}" if options.limits else "off"
    env = {"MARU_API_KEYS": KEY, "MARU_RETENTION_EVENTS": str(EVERYTHING), "MARU_LIMITS": limits}
    async with AsyncExitStack() as stack:
        if options.store == "redis":
            options.port = (await stack.enter_async_context(RedisProcess(folder / "redis"))).port
        env |= await filled(options, folder, channels)
        server = await stack.enter_async_context(ServerProcess(folder, env))
        others = Others()
        talks = [others.talk(server, number, channels[number % len(channels)]) for number in range(OTHERS)]
        tasks = [asyncio.create_task(talk) for talk in talks]
        await asyncio.sleep(SETTLE_S)
        print(f"others before: {others.take()}", flush=True)
        looks, began = await look(server), time.perf_counter()
        body = await erase(server)
        took = time.perf_counter() - began
        print(f"{options.store}: {body['erased']} messages of {len(channels)} channels erased in {took:.1f} s")
        print(f"others meanwhile: {others.take()}")
        told = [f"{name} <= {p99(*each)}" for name, *each in zip(HISTOGRAMS, looks, await look(server), strict=True)]
        print(f"p99 by the server: {', '.join(told)}")
        others.end()
        await asyncio.gather(*tasks)


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--limits", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
