"""The metrics of what goes wrong between replicas, and of a replica's end: made to happen, and seen in a scrape."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from server.adapters.redis import keys
from server.adapters.redis.message_log import RedisMessageLog
from server.application.channels.healing import COMPARE_S
from tests.clients.raw import PATH, RawSocket
from tests.doubles.samples import HOUR_MS, ROOM, new_message
from tests.harness.redis import RedisProcess
from tests.harness.scrape import Samples
from tests.harness.seal import hint_at
from tests.harness.server import ServerProcess
from tests.harness.watched import Watched, closed, refusals

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """The broker."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(redis: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """A replica over it, with a member in the room."""
    async with ServerProcess(tmp_path_factory.mktemp("server"), {"MARU_REDIS_URL": redis.url}) as server:
        yield Watched(server)
        assert server.faults() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def member(watched: Watched) -> AsyncIterator[RawSocket]:
    """Who hears the room."""
    client = await watched.chat()
    await client.ask("channel:join", {"channel": ROOM})
    yield client
    client.vanish()


async def test_what_no_hint_brought_is_a_healed_gap(watched: Watched, redis: RedisProcess, member: RawSocket) -> None:
    """An event that is written past all replicas is found by comparing with the log, and is a duplicate when its hint
    comes after all."""
    await watched.begin()
    async with RedisMessageLog(redis.url, max_events=1_000, max_age_ms=1_000_000 * HOUR_MS) as log:
        event = (await log.append(new_message(1))).event
    assert (await member.event("message:created", timeout=2 * COMPARE_S + 10))["offset"] == event.offset
    growth = await watched.grown({"maru_gaps_healed_total": 1})
    assert growth["maru_gaps_healed_total"] == 1
    assert growth["maru_duplicates_dropped_total"] == 0
    async with redis.client() as publisher:
        await publisher.publish(keys.topic(ROOM), hint_at(event))
    growth = await watched.grown({"maru_duplicates_dropped_total": 1})
    assert growth["maru_deliveries_total"] == 1


async def test_a_broker_that_is_away_is_one_loss(watched: Watched, redis: RedisProcess, member: RawSocket) -> None:
    """However many tries to reach it fail; the link is up again once it is back."""
    await watched.begin()
    await watched.shows(maru_broker_link_up=1)
    redis.kill()
    await watched.shows(maru_broker_link_up=0)
    answer = await member.ask("message:send", {"channel": ROOM, "text": "hi"})
    assert answer["error"]["code"] == "unavailable"
    await redis.start()
    await watched.shows(maru_broker_link_up=1)
    growth = await watched.grown({'maru_commands_total{code="unavailable",command="message:send"}': 1})
    assert growth["maru_broker_link_losses_total"] == 1
    assert growth["maru_log_append_seconds_count"] == 0


MOVING = 60
"""Clients that a drain ends one after another for more than a second, so that there is something to see meanwhile."""


async def test_a_drain_shows_while_it_lasts(tmp_path: Path) -> None:
    """Who was told, who was closed, who was turned away, and how long it has taken."""
    async with AsyncExitStack() as clients, ServerProcess(tmp_path, {"MARU_DRAIN_TIMEOUT": "10s"}) as server:
        watched = Watched(server)
        for number in range(MOVING):
            clients.callback((await watched.chat(f"user-{number}")).vanish)
        await watched.begin()
        server.send_signal(signal.SIGTERM)
        await watched.shows(maru_draining=1, maru_drain_notified_total=MOVING)
        assert await watched.refused(PATH) == 503
        last: Samples = {}
        async with asyncio.timeout(20):
            while True:
                try:
                    last = await watched.now()
                except aiohttp.ClientError:
                    break
        assert last[refusals("draining")] == 1
        assert last[closed("draining")] + last[closed("server_stopped")] >= 1
        assert 1 < last["maru_drain_seconds"] < 10
        ends = {how: last[f'maru_drain_closed_total{{how="{how}"}}'] for how in ("left", "closed", "aborted")}
        assert 1 <= sum(ends.values()) <= MOVING
        assert last["maru_connections"] < MOVING
