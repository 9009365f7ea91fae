"""A deployment, as processes: several real replicas over a real Redis, behind the real nginx."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp

from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.errors import Unavailable
from server.domain.events import Event, LogEvent
from server.domain.identity import Author, UserId
from server.domain.messages import ID_RANDOM_BYTES, message_id
from tests.harness.nginx import Method, NginxProcess
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess

REPLICAS = 3
PAGE = 1_000
AUDIT_S = 20.0

FOR_EVER_MS = 10 * 365 * 24 * 3_600_000
EVERYTHING = 10_000_000
"""Bounds of the test's own view of the log: it never trims."""


class Cluster:
    """`REPLICAS` servers that share a Redis, and nginx before them. Use as an async context manager.

    Writes that `redis` has answered outlive its kills (AOF), though not the machine's.
    """

    def __init__(self, folder: Path, method: Method = "random", env: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._env = dict(env or {})
        self.redis = RedisProcess(self._made("redis"))
        self.replicas = [self.replica(f"replica-{number}") for number in range(1, REPLICAS + 1)]
        self.front = NginxProcess(self._made("front"), [replica.port for replica in self.replicas], method)
        self._resources = AsyncExitStack()

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.front.url

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self.redis)
            for replica in self.replicas:
                resources.push_async_exit(replica)
            await asyncio.gather(*(replica.start() for replica in self.replicas))
            for replica in self.replicas:
                await ready(replica)
            await resources.enter_async_context(self.front)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._resources.__aexit__(*failure)

    def replica(self, name: str) -> ServerProcess:
        """Make another server over the same Redis; it is not started, and unknown to nginx."""
        return ServerProcess(self._made(name), {"MARU_REDIS_URL": self.redis.url, **self._env})

    def log(self) -> RedisMessageLog:
        """The log past all servers: an async context manager."""
        return RedisMessageLog(self.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS)

    async def events(self, channel: str) -> list[Event]:
        """Return everything that the log holds of a channel; ask again if the log does not answer in time."""
        name, found = ChannelName(channel), list[Event]()
        async with asyncio.timeout(AUDIT_S), self.log() as log:
            while True:
                try:
                    replay = await log.read(name, len(found), PAGE)
                except Unavailable:
                    continue
                found += replay.events
                if len(found) >= replay.head.offset:
                    return found

    async def write(self, channel: str, count: int) -> list[LogEvent]:
        """Write messages as a publisher does that dies before it publishes a hint."""
        async with self.log() as log:
            return [(await log.append(ghost_message(channel, f"unheard {number}"))).event for number in range(count)]

    async def seats(self) -> list[int]:
        """How many sessions each replica has."""
        return [(await replica.counts())["sessions"] for replica in self.replicas]

    def faults(self) -> list[dict[str, Any]]:
        """Log lines that no healthy replica writes."""
        return [line for replica in self.replicas for line in replica.faults()]

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def ghost_message(channel: str, text: str) -> NewMessage:
    """Make a message whose author is connected nowhere."""
    now = time.time_ns() // 1_000_000
    id = message_id(now, os.urandom(ID_RANDOM_BYTES))
    author = Author(UserId("ghost"), "Ghost")
    return NewMessage(ChannelName(channel), id, author, text, data=None, reply_to=None, key=f"ghost-{id}", at=now)


async def ready(replica: ServerProcess, timeout: float = 15.0) -> None:
    """Wait until a replica that has been started takes part."""
    since = max(number for number, line in enumerate(replica.lines) if line.get("event") == "serving")
    await replica.logged(lambda line: line.get("event") == "ready", since=since, timeout=timeout)


async def status(replica: ServerProcess, path: str) -> int:
    """The HTTP status of a probe."""
    url = f"http://127.0.0.1:{replica.internal_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, timeout=aiohttp.ClientTimeout(2.0)) as response:
        return response.status
