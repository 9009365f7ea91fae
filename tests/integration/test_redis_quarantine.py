"""A damaged entry of a channel's log in Redis, and forged hints, cost that channel alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters.redis import keys
from server.application.channels.healing import COMPARE_S
from server.domain.channels import ChannelName
from tests.clients.raw import RawSocket
from tests.doubles.newer_version import write_in_redis
from tests.doubles.samples import NOW_MS, ROOM
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled
from tests.harness.watched import Watched

OTHER = ChannelName("room:2")
HEALED_S = 2 * COMPARE_S + 10


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis that a test may do anything to."""
    async with RedisProcess(tmp_path / "redis") as process:
        yield process


@pytest.fixture
async def watched(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[Watched]:
    """A replica over it."""
    async with ServerProcess(tmp_path, {"MARU_REDIS_URL": redis.url}) as server:
        yield Watched(server)


async def member(watched: Watched, channel: ChannelName) -> RawSocket:
    """Return a client that has joined a channel and sent a first message into it."""
    client = await watched.chat()
    assert (await client.ask("channel:join", {"channel": channel}))["ok"]
    await speak(client, channel)
    return client


async def speak(client: RawSocket, channel: ChannelName) -> None:
    """Send a message, and hear it."""
    assert (await client.ask("message:send", {"channel": channel, "text": "hi"}))["ok"]
    await client.event("message:created")


async def test_a_damaged_entry_costs_its_channel_alone(watched: Watched, redis: RedisProcess) -> None:
    """The process goes on; joins of the channel are `unavailable`; when the log is mended, its members go on."""
    hurt, well = await member(watched, ROOM), await member(watched, OTHER)
    await watched.begin()
    await write_in_redis(redis.command, ROOM, NOW_MS, entry="c garbage")
    assert (await hurt.ask("message:send", {"channel": ROOM, "text": "behind it"}))["ok"]
    growth = await watched.grown({"maru_channel_faults_total": 1})
    assert growth["maru_channel_faults_total"] == 1
    newcomer = await watched.chat("bob")

    async def refused() -> bool:
        answer = await newcomer.ask("channel:join", {"channel": ROOM})
        return answer["ok"] is False and answer["error"]["code"] == "unavailable" and answer["error"]["retryable"]

    await polled(refused, HEALED_S, lambda: "the channel can be joined")
    await speak(well, OTHER)
    await redis.command("FLUSHALL")
    resumed = await hurt.event("channel:resumed", timeout=HEALED_S)
    assert (resumed["recovered"], resumed["reason"]) == (False, "epoch_changed")
    await speak(hurt, ROOM)
    for client in (hurt, well, newcomer):
        client.vanish()


FORGED = (
    f"epoch 2 d {10**18} 0 id",
    "epoch 2 d soon 0 id",
    f" 2 d {NOW_MS} 0 id",
    f"epoch -1 d {NOW_MS} 0 id",
    f"epoch {2**62} d {NOW_MS} 0 id",
    f"epoch 2 d {NOW_MS} 0 id [7,null]",
)


async def test_forged_hints_end_nothing(watched: Watched, redis: RedisProcess) -> None:
    """Anybody who can publish may have sent them."""
    client = await member(watched, ROOM)
    for forged in FORGED:
        await redis.command("PUBLISH", keys.topic(ROOM), forged)
        await speak(client, ROOM)
    client.vanish()
