"""Erasing a user's messages on real servers that are killed meanwhile: the count is exact, and no text is left."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import aiohttp
import pytest

from server.adapters.redis import keys
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage, Revision
from server.domain.identity import Author, UserId
from server.domain.limits import MAX_PAGE
from server.domain.messages import ID_RANDOM_BYTES, message_id
from server.ports.message_log import MessageLog
from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.doubles.samples import HOUR_MS
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

CANARY = "canary-of-a-text"
KEY = "key-of-a-backend-0123456789"
CHANNELS = [ChannelName(f"room:{number}") for number in range(3)]
RETENTION_MS = 1_000_000 * HOUR_MS
DEADLINE_S = 60.0

STRANGERS_WAIT_S = 0.5

EACH = 150
"""Messages of the user in each channel."""


class Store(Protocol):
    """A store of one kind, in processes of the test's own."""

    env: dict[str, str]

    async def bury(self) -> None:
        """Let the leases of dead replicas be over, which takes 20 s."""
        ...

    def open(self) -> AbstractAsyncContextManager[MessageLog]:
        """Return its log. No server may run on it, if a process must be alone with it."""
        ...

    async def holds(self, text: bytes) -> bool:
        """Whether the text stands anywhere in the store."""
        ...


class InSqlite(Store):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.env = {"MARU_SQLITE_PATH": str(folder / "maru.db")}

    def open(self) -> AbstractAsyncContextManager[MessageLog]:
        return SqliteMessageLog(self._folder / "maru.db", max_events=100_000, max_age_ms=RETENTION_MS)

    async def bury(self) -> None:
        """The process was alone."""

    async def holds(self, text: bytes) -> bool:
        return any(text in path.read_bytes() for path in self._folder.iterdir() if path.name.startswith("maru.db"))


class InRedis(Store):
    """A process."""

    def __init__(self, process: RedisProcess) -> None:
        self._process = process
        self.env = {"MARU_REDIS_URL": process.url}

    def open(self) -> AbstractAsyncContextManager[MessageLog]:
        return RedisMessageLog(self._process.url, max_events=100_000, max_age_ms=RETENTION_MS)

    async def bury(self) -> None:
        await self._process.command("DEL", keys.leases())

    async def holds(self, text: bytes) -> bool:
        # Not by DUMP, which compresses long values.
        async with self._process.client() as client:
            async for name in client.scan_iter(match=f"{keys.PREFIX}*", count=1_000):
                if text in repr(await _value(client, name)).encode() or text in name:
                    return True
        return False


async def _value(client: Any, name: bytes) -> Any:
    match await client.type(name):
        case b"string":
            return await client.get(name)
        case b"hash":
            return await client.hgetall(name)
        case b"zset":
            return await client.zrange(name, 0, -1)
        case b"stream":
            return await client.xrange(name)
        case kind:
            raise AssertionError(f"a key of kind {kind!r}")


@pytest.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of each kind that outlives a server."""
    if request.param == "sqlite":
        yield InSqlite(tmp_path)
        return
    async with RedisProcess(tmp_path / "redis") as process:
        yield InRedis(process)


_numbers = count()


def draft(channel: ChannelName, user: str) -> NewMessage:
    """A message with a text of its own."""
    now, number = time.time_ns() // 1_000_000, next(_numbers)
    text = f"{CANARY if user == 'alice' else 'others'} {number}"
    id = message_id(now, os.urandom(ID_RANDOM_BYTES))
    return NewMessage(channel, id, Author(UserId(user), user), text, {"x": text}, None, f"k{number}", now)


async def seed(store: Store, each: int = EACH) -> None:
    """Write the messages of the user, of which some are edited, between those of others."""
    async with store.open() as log:
        for channel in CHANNELS:
            for _ in range(each // 50):
                drafts = [draft(channel, user) for _ in range(50) for user in ("alice", "bob")]
                await asyncio.gather(*map(log.append, drafts))
                first = drafts[0]
                await log.append(Revision(channel, first.id, f"{CANARY} edited", None, keep_data=False, at=first.at))


async def erase(server: ServerProcess, **query: str | int) -> dict[str, Any]:
    """Ask for it, by an idempotency key."""
    url = f"http://127.0.0.1:{server.internal_port}/api/v1/users/alice/messages"
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "once"}
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.delete(url, headers=headers, params=query) as answer,
    ):
        assert answer.status == 200, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def test_through_a_kill_each_message_counts_once(store: Store, tmp_path: Path) -> None:
    """Killed between two deletions, the server goes on when it is back. The same request tells the exact count; no
    store, page, replay or join has the text, and others' messages are there."""
    await seed(store)
    (folder := tmp_path / "server").mkdir()
    async with ServerProcess(folder, store.env | {"MARU_API_KEYS": KEY}) as server:
        member = await RawSocket.chat(server.port, token("bob"))
        for channel in CHANNELS:
            await member.ask("channel:join", {"channel": channel})
        asking = asyncio.create_task(erase(server))
        for _ in range(EACH // 2):
            await member.event("message:deleted")
        await server.kill()
        await store.bury()
        with pytest.raises(aiohttp.ClientError):
            await asking
        member.vanish()
        await server.start()
        while not (progress := await erase(server))["done"]:
            pass
        assert progress == {"erased": len(CHANNELS) * EACH, "done": True}
        await look(server)
        assert server.faults() == []
        assert CANARY not in server.output

        async def is_gone() -> bool:
            return not await store.holds(CANARY.encode())

        await polled(is_gone, DEADLINE_S, lambda: "the text has left the store", every_s=0.2)
        assert await store.holds(b"others 1")


@pytest.mark.alone
async def test_others_hardly_wait(store: Store, tmp_path: Path, figure: Figure) -> None:
    """Who sends in one of the channels meanwhile is answered as quickly as promise P12 says."""
    await seed(store, 10 * 50)
    (folder := tmp_path / "server").mkdir()
    async with ServerProcess(folder, store.env | {"MARU_API_KEYS": KEY}) as server:
        other = await RawSocket.chat(server.port, token("carol"))
        await other.ask("channel:join", {"channel": CHANNELS[0]})
        erasing, waits = asyncio.create_task(erase(server)), list[float]()
        while not erasing.done():
            began = time.perf_counter()
            assert (await other.ask("message:send", {"channel": CHANNELS[0], "text": "hello"}))["ok"]
            waits.append(time.perf_counter() - began)
            await asyncio.wait([erasing], timeout=0.02)
        assert (await erasing)["done"]
        other.vanish()
        figure(f"{len(waits)} acks, p50 {median(waits) * 1000:.0f} ms, max {max(waits) * 1000:.0f} ms")
        assert sorted(waits)[int(0.98 * len(waits))] < STRANGERS_WAIT_S


async def look(server: ServerProcess) -> None:
    """Read everything that a client can: pages, and each event of a channel from its beginning."""
    client = await RawSocket.chat(server.port, token("bob"))
    for channel in CHANNELS:
        first = await client.ask("channel:join", {"channel": channel, "history": MAX_PAGE})
        found, before = [first], first["offset"] + 1
        for _ in range(2 * EACH // MAX_PAGE):
            page = await client.ask("history:read", {"channel": channel, "before": before, "limit": MAX_PAGE})
            found.append(page)
            before = page["messages"][0]["offset"] if page["messages"] else 1
        assert before == 1
        position = {"epoch": first["epoch"], "offset": 0}
        found.append(await client.ask("channel:join", {"channel": channel, "since": position}))
        texts = str(found)
        assert CANARY not in texts
        assert texts.count("others") >= EACH
    client.vanish()
