"""The promises of who is online, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import ENTRIES_AT_ONCE, SEEN_S, RostersLost
from server.ports.replicas import LEASE_S
from tests.contracts.nats_presence import InNats, nats_deployment
from tests.contracts.presence_stores import (
    DEADLINE_S,
    Deployment,
    InMemory,
    InPostgres,
    InRedis,
    Sharing,
    postgres_deployment,
    redis_deployment,
)
from tests.contracts.redises import REDISES
from tests.doubles.clock import Clock
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

ANNA, BERT, CARL = UserId("anna"), UserId('b "e,r=t" ∂'), UserId("carl")
LEASE_MS = round(LEASE_S * 1_000)


@pytest.fixture
async def in_redis(redis_server: RedisProcess) -> AsyncIterator[InRedis]:
    """Replicas that meet in Redis, at a time that the test moves."""
    async with redis_deployment(redis_server, Clock()) as deployment:
        yield deployment


@pytest.fixture
async def in_redis_cluster(redis_cluster_server: ClusterProcess) -> AsyncIterator[InRedis]:
    """Replicas that meet in a Redis Cluster, at a time that the test moves."""
    async with redis_deployment(redis_cluster_server, Clock()) as deployment:
        yield deployment


@pytest.fixture
async def in_postgres(postgres_server: PostgresProcess) -> AsyncIterator[InPostgres]:
    """Replicas that meet in PostgreSQL, at a time that the test moves."""
    async with postgres_deployment(postgres_server, Clock()) as deployment:
        yield deployment


@pytest.fixture
async def in_nats(nats_server: NatsProcess) -> AsyncIterator[InNats]:
    """Replicas that meet in NATS, at a time that the test moves."""
    async with nats_deployment(nats_server, Clock()) as deployment:
        yield deployment


@pytest.fixture(params=["postgres", "nats", *REDISES])
def sharing(request: pytest.FixtureRequest) -> Sharing:
    """A deployment of each kind with several replicas, empty."""
    found: Sharing = request.getfixturevalue(f"in_{request.param}")
    return found


@pytest.fixture(params=["memory", "postgres", "nats", *REDISES])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """A deployment of each kind, empty."""
    if request.param == "memory":
        return InMemory()
    found: Sharing = request.getfixturevalue(f"in_{request.param}")
    return found


async def test_1_those_that_came_or_went_are_returned(deployment: Deployment) -> None:
    """Once; another number of sessions is no change."""
    replica = await deployment.open()
    online, now = replica.online, replica.clock.now
    assert await online.count({}) == []
    assert await online.count({ANNA: 1, CARL: 0}) == [UserStatus(ANNA, True, 1, None)]
    assert await online.count({ANNA: 3}) == []
    assert await online.count({ANNA: 3, BERT: 1}) == [UserStatus(BERT, True, 1, None)]
    assert await online.count({ANNA: 0}) == [UserStatus(ANNA, False, 0, now)]
    assert await online.count({ANNA: 0}) == []


async def test_2_the_status_of_users_is_in_their_order(deployment: Deployment) -> None:
    """Also of the unknown, and of a user who is named twice."""
    replica = await deployment.open()
    began = replica.clock.now
    await replica.online.count({ANNA: 2, BERT: 1})
    replica.clock.now += 1_000
    await replica.online.count({BERT: 0})
    replica.clock.now += 1_000
    status = [
        UserStatus(BERT, False, 0, began + 1_000),
        UserStatus(CARL, False, 0, None),
        UserStatus(ANNA, True, 2, None),
    ]
    assert await replica.online.status([BERT, CARL, ANNA, BERT]) == [*status, status[0]]


async def test_2_many_are_counted_at_once(deployment: Deployment) -> None:
    """As many as a call may have."""
    online = (await deployment.open()).online
    many = [UserId(f"user {number}") for number in range(ENTRIES_AT_ONCE)]
    assert len(await online.count(dict.fromkeys(many, 2))) == ENTRIES_AT_ONCE
    assert {status.sessions for status in await online.status(many)} == {2}
    assert len(await online.count(dict.fromkeys(many, 0))) == ENTRIES_AT_ONCE


async def test_2_a_user_is_forgotten_after_a_month(deployment: Deployment) -> None:
    """The time is known for so long."""
    replica = await deployment.open()
    for number in (1, 0):
        await replica.online.count({ANNA: number})
    replica.clock.now += SEEN_S * 1_000
    assert (await replica.online.status([ANNA]))[0].last_seen is not None
    replica.clock.now += 1
    assert await replica.online.status([ANNA]) == [UserStatus(ANNA, False, 0, None)]


async def test_2_the_sessions_of_all_replicas_count(sharing: Sharing) -> None:
    """A user is online as long as there is one anywhere."""
    one, two = await sharing.open(), await sharing.open()
    assert len(await one.online.count({ANNA: 2})) == 1
    assert await two.online.count({ANNA: 1}) == []
    assert (await two.online.status([ANNA]))[0].sessions == 3
    assert await one.online.count({ANNA: 0}) == []
    assert await two.online.count({ANNA: 0}) == [UserStatus(ANNA, False, 0, sharing.clock.now)]
    assert not await sharing.counted()


async def test_1_those_of_a_dead_replica_go_offline(sharing: Sharing) -> None:
    """The replica that removed them hears of it, no other; who is elsewhere, too, stays."""
    dead, reaping, other = [await sharing.open() for _ in range(3)]
    heard, unheard = reaping.online.reaped(), other.online.reaped()
    many = {UserId(f"user {number}"): 1 for number in range(ENTRIES_AT_ONCE)}
    await dead.online.count({**many, BERT: 1})
    sharing.clock.now += LEASE_MS - 1
    await other.online.count({BERT: 1})
    sharing.clock.now += 1
    await reaping.look()
    await other.look()
    async with asyncio.timeout(DEADLINE_S):
        gone = [await anext(heard) for _ in many]
    assert {status.user for status in gone if isinstance(status, UserStatus)} == {*many}
    assert (
        gone[0] == UserStatus(gone[0].user, False, 0, sharing.clock.now) if isinstance(gone[0], UserStatus) else False
    )
    assert [status.sessions for status in await other.online.status([BERT, *list(many)[:1]])] == [1, 0]
    assert not await sharing.left_by(dead.holding.name)
    waiting = asyncio.ensure_future(anext(unheard))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_1_after_a_lost_lease_all_are_counted_again(sharing: Sharing) -> None:
    """`RostersLost` tells; it was not offline in between if nobody removed it."""
    replica, other = await sharing.open(), await sharing.open()
    heard = replica.online.reaped()
    await replica.online.count({ANNA: 2, BERT: 1})
    sharing.clock.now += LEASE_MS
    with pytest.raises(Unavailable):
        await replica.online.count({CARL: 1})
    assert not await replica.presence.renew()
    async with asyncio.timeout(DEADLINE_S):
        assert await anext(heard) == RostersLost()
    assert await replica.online.count({ANNA: 2}) == []
    await other.look()
    assert [status.sessions for status in await replica.online.status([ANNA, BERT])] == [2, 0]


async def test_1_a_dead_holder_counts_nobody(sharing: Sharing) -> None:
    """Even if it does not know."""
    stalled, other = await sharing.open(), await sharing.open()
    await stalled.online.count({ANNA: 1})
    sharing.clock.now += LEASE_MS
    await other.look()
    sharing.clock.now -= LEASE_MS
    with pytest.raises(Unavailable):
        await stalled.online.count({ANNA: 1})
    assert (await stalled.online.count({ANNA: 1}))[0].online


async def test_1_old_counts_of_a_replica_are_replaced(sharing: Sharing) -> None:
    """After a break there is no user twice."""
    replica = await sharing.open()
    for number in (3, 2):
        await replica.online.count({ANNA: number})
        replica.holding.restore()
    assert (await replica.online.status([ANNA]))[0].sessions == 2
    assert await replica.online.count({ANNA: 1}) == []
    assert (await replica.online.status([ANNA]))[0].sessions == 1
    assert len(await replica.online.count({ANNA: 0})) == 1
    assert not await sharing.counted()


async def test_2_users_that_are_forgotten_leave_no_trace(in_redis: InRedis) -> None:
    """Changes of others take them away."""
    replica = await in_redis.open()
    many = [UserId(f"user {number}") for number in range(ENTRIES_AT_ONCE)]
    for number in (1, 0):
        await replica.online.count(dict.fromkeys(many, number))
    in_redis.clock.now += SEEN_S * 1_000 + 1
    await replica.presence.renew()
    await replica.online.count(dict.fromkeys(many[500:], 1))
    seen = [await in_redis.command("ZCARD", key) for key in await in_redis.keys() if key.endswith(":seen")]
    assert sum(seen) < 200
