"""The promises of presence, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from server.adapters.redis import presence_keys
from server.adapters.rosters import ROSTER_BEGINNING, TurnQueue
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterHead
from server.ports.presence import ENTRIES_AT_ONCE
from server.ports.replicas import LEASE_S
from tests.contracts.nats_presence import InNats, nats_deployment, sharing_deployment
from tests.contracts.presence_stores import (
    DEADLINE_S,
    Deployment,
    InMemory,
    InPostgres,
    InRedis,
    Sharing,
    SharingReplica,
    postgres_deployment,
    redis_deployment,
    subscribed,
)
from tests.contracts.redises import REDISES, RedisServer
from tests.doubles.clock import Clock
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess
from tests.harness.waiting import polled

ANNA, BERT, CARL = UserId("anna"), UserId('b "e\\r/t" ∂ =,'), UserId("carl")
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
def sharing_server(request: pytest.FixtureRequest) -> NatsProcess | RedisServer | PostgresProcess:
    """A server of each kind."""
    found: NatsProcess | RedisServer | PostgresProcess = request.getfixturevalue(f"{request.param}_server")
    return found


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


def users(roster: Roster) -> list[UserId]:
    """The users of a roster, in order."""
    return [present.user for present in roster.members]


async def test_1_a_roster_is_a_set(deployment: Deployment, channel: ChannelName) -> None:
    """To enter or leave again changes nothing; a user whom nobody entered is no user."""
    presence = (await deployment.open()).presence
    first = await presence.enter(channel, {ANNA: "Anna", BERT: None})
    assert (first.version, first.count) == (2, 2)
    assert await presence.enter(channel, {BERT: "another", ANNA: None}) == first
    assert await presence.leave(channel, [CARL]) == first
    assert await presence.enter(channel, {}) == await presence.leave(channel, []) == first
    assert await presence.leave(channel, [ANNA, ANNA]) == RosterHead(first.epoch, 3, 1)
    assert users(await presence.read(channel, 10)) == [BERT]


async def test_1_a_user_is_there_as_long_as_a_replica_has_entered_them(sharing: Sharing, channel: ChannelName) -> None:
    """Replicas do not show."""
    one, two = await sharing.open(), await sharing.open()
    head = await one.presence.enter(channel, {ANNA: "Anna"})
    assert await two.presence.enter(channel, {ANNA: "Another"}) == head
    assert await one.presence.leave(channel, [ANNA]) == head
    assert await one.presence.leave(channel, [ANNA]) == head
    assert [each.name for each in (await one.presence.read(channel, 10)).members] == ["Anna"]
    assert (await two.presence.leave(channel, [ANNA])).count == 0


async def test_2_each_change_raises_the_version_by_one(deployment: Deployment, channel: ChannelName) -> None:
    """A user who comes again has a new time; `since` and `name` of the others stay."""
    replica = await deployment.open()
    presence, clock = replica.presence, replica.clock
    began = clock.now
    await presence.enter(channel, {ANNA: "Anna"})
    clock.now += 1_000
    head = await presence.enter(channel, {ANNA: "Else", BERT: "Bert"})
    roster = await presence.read(channel, 10)
    assert roster.members == (Present(ANNA, "Anna", began), Present(BERT, "Bert", began + 1_000))
    assert (roster.head, roster.complete) == (head, True)
    clock.now += 1_000
    await presence.leave(channel, [ANNA])
    again = await presence.enter(channel, {ANNA: "Else"})
    assert again == RosterHead(head.epoch, 4, 2)
    assert (await presence.read(channel, 10)).members[1] == Present(ANNA, "Else", began + 2_000)


async def test_2_a_roster_that_nobody_entered_is_empty(deployment: Deployment, channel: ChannelName) -> None:
    """Reading, leaving and asking for heads make none."""
    presence = (await deployment.open()).presence
    assert await presence.read(channel, 10) == Roster(NOBODY, (), complete=True)
    assert await presence.leave(channel, [ANNA]) == await presence.enter(channel, {}) == NOBODY
    assert await presence.heads([channel]) == {channel: NOBODY}


async def test_2_a_roster_that_became_empty_counts_on_or_has_another_epoch(
    deployment: Deployment, channel: ChannelName
) -> None:
    """No version is given twice."""
    presence = (await deployment.open()).presence
    head = await presence.enter(channel, {ANNA: None})
    empty = await presence.leave(channel, [ANNA])
    assert empty == RosterHead(head.epoch, 2, 0)
    again = await presence.enter(channel, {ANNA: None})
    assert again.count == 1
    assert again.epoch != head.epoch or again.version == 3


async def test_2_an_empty_roster_is_forgotten_in_redis(in_redis: InRedis, channel: ChannelName) -> None:
    """After an hour nothing of it is left."""
    presence, (who, by, roster) = (await in_redis.open()).presence, presence_keys.roster(channel, in_redis.prefix)
    await presence.enter(channel, {ANNA: None})
    assert await in_redis.command("PTTL", roster) == -1
    await presence.leave(channel, [ANNA])
    assert 0 < await in_redis.command("PTTL", roster) <= 3_600_000
    assert await in_redis.command("EXISTS", who, by) == 0
    await presence.enter(channel, {ANNA: None})
    assert await in_redis.command("PTTL", roster) == -1


async def test_2_the_longest_are_read_first(deployment: Deployment, channel: ChannelName) -> None:
    """So many of them, with the whole count."""
    replica = await deployment.open()
    many = [UserId(f"user {number:04}") for number in range(2 * ENTRIES_AT_ONCE)]
    await replica.presence.enter(channel, {user: f"Name of {user}" for user in many[ENTRIES_AT_ONCE:]})
    replica.clock.now += 1
    head = await replica.presence.enter(channel, {user: f"Name of {user}" for user in many[:ENTRIES_AT_ONCE]})
    roster = await replica.presence.read(channel, 100)
    assert users(roster) == many[ENTRIES_AT_ONCE:][:100]
    assert (roster.head, roster.complete, head.count) == (head, False, 2 * ENTRIES_AT_ONCE)
    assert (await replica.presence.leave(channel, many[:ENTRIES_AT_ONCE])).count == ENTRIES_AT_ONCE
    assert (await replica.presence.read(channel, ENTRIES_AT_ONCE)).complete


async def test_2_heads_of_many_channels_are_read_at_once(deployment: Deployment, channel: ChannelName) -> None:
    """Ten thousand, of which some are named twice."""
    presence = (await deployment.open()).presence
    channels = [ChannelName(f"{channel}:{number}") for number in range(10_000)]
    head = await presence.enter(channels[7], {ANNA: None})
    heads = await presence.heads([*channels, *channels[:3]])
    assert len(heads) == 10_000
    assert heads[channels[7]] == head
    assert {heads[each] for each in channels if each != channels[7]} == {NOBODY}


async def test_2_a_roster_that_has_gone_back_in_time_has_a_new_epoch(sharing: Sharing, channel: ChannelName) -> None:
    """Its next versions have been given before, to other changes. It is told, though nobody entered."""
    presence, other = (await sharing.open()).presence, await sharing.open()
    await subscribed(other, channel=channel)
    before = await presence.enter(channel, {ANNA: "Anna"})
    head = await presence.enter(channel, {BERT: "Bert"}, before)
    assert head.epoch == before.epoch
    await sharing.go_back(channel, before)
    assert await presence.enter(channel, {ANNA: "Anna"}, before) == RosterHead(before.epoch, 1, 2)
    again = await presence.enter(channel, {ANNA: "Anna"}, head)
    assert again.epoch not in {before.epoch, "0"}
    assert (await other.presence.heads([channel]))[channel] == again
    changes = await other.changes(3)
    assert [change.head for change in changes] == [before, head, again]
    assert (changes[2].left, changes[2].joined) == ((), ())
    assert await presence.enter(channel, {ANNA: "Anna"}, head) == again


async def test_3_each_change_is_told_to_those_that_have_subscribed(
    deployment: Deployment, channel: ChannelName
) -> None:
    """A message for each call that changes something, in the order of versions."""
    replica, other = await deployment.open(), ChannelName(f"{channel}:other")
    presence = replica.presence
    await presence.enter(channel, {ANNA: "Anna"})
    heard = ChannelName(f"{channel}:heard")
    await subscribed(replica, channel=heard)
    await presence.enter(heard, {ANNA: "Anna"})
    await replica.changes(1)  # so all before it have come
    await subscribed(replica, channel=channel)
    await presence.enter(other, {CARL: "Carl"})
    both = await presence.enter(channel, {ANNA: "Anna", BERT: "Bert", CARL: None})
    await presence.enter(channel, {CARL: None})
    left = await presence.leave(channel, [ANNA, CARL])
    joined, gone = await replica.changes(2)
    assert (joined.channel, joined.head, joined.left) == (channel, both, ())
    assert [(each.user, each.name) for each in joined.joined] == [(BERT, "Bert"), (CARL, None)]
    assert (gone.head, gone.joined, {each.user for each in gone.left}) == (left, (), {ANNA, CARL})
    assert (joined.head.version, gone.head.version) == (3, 5)
    roster = await presence.read(channel, 10)
    assert roster.members == tuple(each for each in joined.joined if each.user == BERT)
    await replica.broadcast.unsubscribe(channel)
    await subscribed(replica, channel=other)
    await presence.enter(channel, {ANNA: None})
    await presence.enter(other, {ANNA: None})
    assert [change.channel for change in await replica.changes(1)] == [other]


async def test_3_changes_reach_the_other_replicas(sharing: Sharing, channel: ChannelName) -> None:
    """And are the same there."""
    one, two, deaf = [await sharing.open() for _ in range(3)]
    await subscribed(one, two, channel=channel)
    await one.presence.enter(channel, {BERT: 'B "∂" \\/'})
    await two.presence.enter(channel, {ANNA: None, BERT: None})
    heard = [await each.changes(2) for each in (one, two)]
    assert heard[0] == heard[1]
    assert [change.joined[0].name for change in heard[0]] == ['B "∂" \\/', None]
    other = ChannelName(f"{channel}:other")
    await subscribed(deaf, channel=other)
    await two.presence.enter(other, {ANNA: None})
    await deaf.changes(1)  # so all before it has passed
    await subscribed(deaf, channel=channel)
    await two.presence.leave(channel, [ANNA])
    assert (await deaf.changes(1))[0].head.version == 3


async def test_3_a_change_that_is_too_long_tells_the_head(sharing: Sharing, channel: ChannelName) -> None:
    """Then the version does not follow, and the roster is read."""
    replica = await sharing.open()
    await subscribed(replica, channel=channel)
    many = {UserId(f"{number:04} {'u' * 100}"): "n" * 128 for number in range(ENTRIES_AT_ONCE)}
    head = await replica.presence.enter(channel, many)
    (change,) = await replica.changes(1)
    assert (change.head, change.left, change.joined) == (head, (), ())


@pytest.mark.parametrize("limit", [3])
async def test_3_too_many_changes_are_told_as_lost(deployment: Deployment, channel: ChannelName, limit: int) -> None:
    """Those that wait are dropped together; what comes after is heard."""
    replica = await deployment.open(limit)
    await subscribed(replica, channel=channel)
    for number in range(5):
        await replica.presence.enter(channel, {UserId(f"user {number}"): None})
    (head,) = (await replica.presence.heads([channel])).values()

    async def dropped() -> bool:
        return getattr(replica.presence, "dropped", 0) > 0

    await polled(dropped, DEADLINE_S, lambda: "changes are dropped")
    await replica.lost()
    async with asyncio.timeout(DEADLINE_S):
        while (await replica.changes(1))[0].head != head:
            pass


async def test_3_nobody_else_can_tell_of_a_change(sharing: Sharing, channel: ChannelName) -> None:
    """Not without the seal, nor with one of another topic, or of nonsense: it is counted, and not heard."""
    replica, other = await sharing.open(), ChannelName(f"{channel}:other")
    await subscribed(replica, channel=channel)
    await subscribed(replica, channel=other)
    change = ROSTER_BEGINNING + b'"epoch":"e","version":9,"count":1,"left":[],"joined":[["mallory",null,1]]}'
    await replica.presence.enter(other, {ANNA: None})
    async with asyncio.timeout(DEADLINE_S):
        await replica.changes(1)
    forged = await sharing.publish(replica, channel, change)
    head = await replica.presence.enter(channel, {ANNA: None})
    assert [change.head for change in await replica.changes(1)] == [head]
    assert replica.refused() == forged


async def test_4_a_replica_that_is_silent_loses_its_entries(sharing: Sharing, channel: ChannelName) -> None:
    """Not before its lease has ended; a user who was entered elsewhere meanwhile stays, and nobody hears of it."""
    dead, alive = await sharing.open(), await sharing.open()
    await subscribed(alive, channel=channel)
    await dead.presence.enter(channel, {ANNA: "Anna", BERT: "Bert"})
    sharing.clock.now += LEASE_MS - 1
    head = await alive.presence.enter(channel, {BERT: None, CARL: "Carl"})
    await alive.look()
    assert await alive.presence.heads([channel]) == {channel: head}
    sharing.clock.now += 1
    await alive.look()
    roster = await alive.presence.read(channel, 10)
    assert users(roster) == [BERT, CARL]
    assert roster.head == RosterHead(head.epoch, head.version + 1, 2)
    changes = await alive.changes(3)
    assert [(len(each.left), len(each.joined)) for each in changes] == [(0, 2), (0, 1), (1, 0)]
    assert [(each.user, each.name) for each in changes[2].left] == [(ANNA, "Anna")]
    assert await sharing.left_by(alive.holding.name)
    assert not await sharing.left_by(dead.holding.name)


async def test_4_a_renewal_keeps_the_entries(sharing: Sharing, channel: ChannelName) -> None:
    """For a lease more each."""
    one, two = await sharing.open(), await sharing.open()
    head = await one.presence.enter(channel, {ANNA: None})
    for _ in range(5):
        sharing.clock.now += LEASE_MS - 1
        assert await one.presence.renew()
        await two.presence.renew()
        await two.look()
    assert await two.presence.heads([channel]) == {channel: head}


async def test_4_many_channels_and_big_ones_are_reaped(sharing: Sharing, channel: ChannelName) -> None:
    """A thousand of a few users each, and one of more than a step; nothing is left in Redis."""
    dead, alive = await sharing.open(), await sharing.open()
    big = [UserId(f"user {number}") for number in range(3 * ENTRIES_AT_ONCE)]
    for start in range(0, len(big), ENTRIES_AT_ONCE):
        await dead.presence.enter(channel, dict.fromkeys(big[start : start + ENTRIES_AT_ONCE]))
    await alive.presence.enter(channel, {big[5]: None, CARL: None})
    channels = [ChannelName(f"{channel}:{number}") for number in range(1_000)]
    for start in range(0, len(channels), 250):
        part = channels[start : start + 250]
        await asyncio.gather(*(dead.presence.enter(each, {ANNA: None, BERT: None}) for each in part))
    sharing.clock.now += LEASE_MS
    await alive.presence.renew()
    await alive.presence.enter(channel, {big[5]: None, CARL: None})
    sharing.clock.now += 1
    await alive.look()
    heads = await alive.presence.heads([channel, *channels])
    assert heads[channel].count == 2
    assert {heads[each].count for each in channels} == {0}
    assert not await sharing.left_by(dead.holding.name)


async def test_4_a_lease_is_held_before_the_first_entry(sharing: Sharing, channel: ChannelName) -> None:
    """Also if nobody has renewed yet: a replica that dies at once leaves nothing."""
    dead, alive = await sharing.open(), await sharing.open()
    await asyncio.gather(*(dead.presence.enter(channel, {UserId(f"{number}"): None}) for number in range(20)))
    sharing.clock.now += LEASE_MS
    await alive.look()
    assert (await alive.presence.read(channel, 100)).members == ()


async def test_4_a_killed_replica_is_gone_in_time(
    sharing_server: NatsProcess | RedisServer | PostgresProcess, channel: ChannelName
) -> None:
    """By the store's own time, at most 3 s after the end of its lease, with the reaper of another."""
    async with sharing_deployment(sharing_server, lease_s=1.0) as deployment:
        dead, alive = await deployment.open(), await deployment.open()
        await subscribed(alive, channel=channel)
        began = monotonic()
        await dead.presence.enter(channel, {ANNA: None})
        reaping = asyncio.create_task(alive.presence.run())
        joined, left = await alive.changes(2)
        took = monotonic() - began
        reaping.cancel()
        await asyncio.gather(reaping, return_exceptions=True)
    assert (joined.left, [each.user for each in left.left]) == ((), [ANNA])
    assert 1.0 <= took < 4.5


async def test_5_handed_over_entries_hold_for_so_long(deployment: Deployment, channel: ChannelName) -> None:
    """A renewal does not keep them any longer."""
    replica = await deployment.open()
    head = await replica.presence.enter(channel, {ANNA: None})
    await replica.presence.hand_over(10.0)
    assert await replica.presence.renew()
    assert await replica.presence.heads([channel]) == {channel: head}
    if not isinstance(deployment, InMemory):
        other = await deployment.open()
        assert isinstance(other, SharingReplica)
        replica.clock.now += 9_999
        await other.look()
        assert await other.presence.heads([channel]) == {channel: head}
        await other.presence.enter(channel, {BERT: None})
        replica.clock.now += 1
        await other.look()
        assert users(await other.presence.read(channel, 10)) == [BERT]


async def test_6_a_lost_lease_is_told_by_the_renewal(sharing: Sharing, channel: ChannelName) -> None:
    """Whether it was reaped or not. Until then nothing can be entered; then all is entered again, which is new."""
    for reaped in (True, False):
        stalled, other = await sharing.open(), await sharing.open()
        assert await stalled.presence.renew()
        await stalled.presence.enter(channel, {ANNA: "Anna"})
        sharing.clock.now += LEASE_MS
        with pytest.raises(Unavailable):
            await stalled.presence.enter(channel, {BERT: "Bert"})
        if reaped:
            await other.look()
        assert not await stalled.presence.renew()
        assert await stalled.presence.renew()
        head = await stalled.presence.enter(channel, {ANNA: "Anna", BERT: "Bert"})
        await other.look()
        assert (await other.presence.heads([channel]))[channel] == head
        assert head.count == 2
        await stalled.presence.leave(channel, [ANNA, BERT])


async def test_6_a_dead_holder_enters_nobody(sharing: Sharing, channel: ChannelName) -> None:
    """Even if its own clock stood still: others have removed its entries, and would not look again."""
    stalled, other = await sharing.open(), await sharing.open()
    await stalled.presence.enter(channel, {ANNA: None})
    name = stalled.holding.name
    await sharing.end_lease(name)
    await other.look()
    for call in (stalled.presence.enter(channel, {ANNA: None}), stalled.presence.leave(channel, [ANNA])):
        with pytest.raises(Unavailable):
            await call
        assert stalled.holding.name != name
        stalled.holding._number = 0  # noqa: SLF001  # as if it had not noticed
        assert (await other.presence.heads([channel]))[channel].count == 0
    stalled.holding.lose(name)
    assert not await stalled.presence.renew()
    assert (await stalled.presence.enter(channel, {ANNA: None})).count == 1


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_6_without_the_store_every_call_is_an_error(channel: ChannelName, kind: str) -> None:
    """Within two seconds."""
    nowhere = f"redis://127.0.0.1:{free_port()}", f"postgresql://maru@127.0.0.1:{free_port()}/maru"
    deployment: Sharing = InRedis(nowhere[0]) if kind == "redis" else InPostgres(nowhere[1])
    replica = deployment.make()
    presence, online, began = replica.presence, replica.online, monotonic()
    calls = (
        presence.enter(channel, {ANNA: None}),
        presence.leave(channel, [ANNA]),
        presence.read(channel, 1),
        presence.heads([channel]),
        presence.renew(),
        online.count({ANNA: 1}),
        online.status([ANNA]),
        replica.look(),
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert monotonic() - began < 2.0
    await deployment.aclose()


async def test_6_what_the_store_has_lost_is_entered_again(sharing: Sharing) -> None:
    """Emptied: the renewal tells."""
    channel = ChannelName("room:emptied")
    replica = await sharing.open()
    head = await replica.presence.enter(channel, {ANNA: None})
    await sharing.empty()
    assert await replica.presence.heads([channel]) == {channel: NOBODY}
    assert not await replica.presence.renew()
    again = await replica.presence.enter(channel, {ANNA: None})
    assert (again.version, again.count) == (1, 1)
    assert again.epoch != head.epoch


async def test_6_entries_that_an_emptied_redis_was_given_are_removed(sharing: Sharing) -> None:
    """Until its renewal a replica enters users under a name whose lease is lost, or may not; they are no ghosts."""
    channel = ChannelName("room:ghosts")
    replica = await sharing.open()
    await replica.presence.enter(channel, {ANNA: None})
    await sharing.empty()
    with suppress(Unavailable):
        await replica.presence.enter(channel, {ANNA: None, BERT: None})
        await replica.online.count({BERT: 1})
    assert not await replica.presence.renew()
    await replica.presence.enter(channel, {ANNA: None})
    await replica.presence.leave(channel, [BERT])
    await replica.look()
    assert users(await replica.presence.read(channel, 10)) == [ANNA]
    assert [status.online for status in await replica.online.status([BERT])] == [False]


async def test_6_after_a_break_all_is_entered_again(sharing: Sharing, channel: ChannelName) -> None:
    """Redis has an older state: without a user who was entered, and with one who has left. `RostersLost` tells, nobody
    sees that others are entered anew, and the one who has left is gone with the old lease."""
    replica, other = await sharing.open(), await sharing.open()
    await replica.presence.enter(channel, {ANNA: "Anna", BERT: "Bert"})
    await subscribed(other, channel=channel)
    old = replica.holding.name
    await sharing.break_links()
    await replica.lost()
    assert replica.holding.names == (replica.holding.name, old)
    head = await replica.presence.enter(channel, {ANNA: "Anna"})
    assert head.version == 2
    for _ in range(4):
        sharing.clock.now += LEASE_MS - 1
        assert await replica.presence.renew()
        await other.presence.renew()
    assert (await other.presence.heads([channel])) == {channel: head}
    await other.look()
    assert users(await other.presence.read(channel, 10)) == [ANNA]
    assert [[each.user for each in change.left] for change in await other.changes(1)] == [[BERT]]
    assert not await sharing.left_by(old)


async def test_6_who_removes_may_become_another_holder_meanwhile(sharing: Sharing, channel: ChannelName) -> None:
    """Nothing is left of the dead one, and no claim to remove it."""
    dead, other = await sharing.open(), await sharing.open()
    await dead.presence.enter(channel, {BERT: "Bert"})
    await other.presence.enter(ChannelName(f"{channel}-elsewhere"), {ANNA: "Anna"})
    await other.turned(1)
    await sharing.end_lease(dead.holding.name)

    async def become_another() -> None:
        await other.turned(1)
        other.holding.restore()

    await asyncio.gather(other.look(), become_another())
    assert not await sharing.left_by(dead.holding.name)


async def test_6_leaving_takes_old_entries_of_the_replica_with_it(sharing: Sharing, channel: ChannelName) -> None:
    """However often Redis was away meanwhile."""
    replica, other = await sharing.open(), await sharing.open()
    for user in (ANNA, BERT, CARL):
        await replica.presence.enter(channel, {user: None})
        await other.presence.enter(channel, {CARL: None})
        replica.holding.restore()
    head = await replica.presence.leave(channel, [BERT, ANNA, CARL])
    assert (head.version, head.count) == (5, 1)
    assert users(await replica.presence.read(channel, 10)) == [CARL]
    for _ in range(6):
        await replica.presence.enter(channel, {ANNA: None})
        replica.holding.restore()
    assert len(replica.holding.names) == 5


async def test_6_leaving_is_at_once_however_long_ago_the_break_was(sharing: Sharing, channel: ChannelName) -> None:
    """While an old name is renewed, and while the last lease of it runs."""
    replica = await sharing.open()
    people = [UserId(f"user-{number}") for number in range(13)]
    await replica.presence.enter(channel, dict.fromkeys(people))
    replica.holding.restore()
    await replica.presence.enter(channel, dict.fromkeys(people))
    for number, user in enumerate(people, 1):
        assert await replica.presence.renew()
        assert (await replica.presence.leave(channel, [user])).count == len(people) - number
        sharing.clock.now += 5_000
    await replica.look()
    assert not await sharing.counted()
    sharing.clock.now += 5_000
    assert await replica.presence.renew()
    assert replica.holding.names == (replica.holding.name,)


async def test_6_a_restarted_redis_is_no_loss(tmp_path: Path, channel: ChannelName) -> None:
    """Scripts are sent again, and what it kept counts."""
    async with RedisProcess(tmp_path) as server, redis_deployment(server) as deployment:
        replica = await deployment.open()
        head = await replica.presence.enter(channel, {ANNA: None})
        server.kill()
        with pytest.raises(Unavailable):
            await replica.presence.renew()
        await server.start()
        await replica.lost()
        assert await replica.presence.renew()
        assert await replica.presence.enter(channel, {ANNA: None}) == head
        assert (await replica.presence.enter(channel, {BERT: None})).version == 2


async def test_4_a_full_redis_still_reaps(tmp_path: Path, channel: ChannelName) -> None:
    """What makes room is not refused, and what is refused has not been done in part."""
    async with RedisProcess(tmp_path) as server, redis_deployment(server, Clock()) as deployment:
        dead, alive = await deployment.open(), await deployment.open()
        await dead.presence.enter(channel, {ANNA: None, BERT: None})
        await alive.presence.enter(channel, {BERT: None, CARL: None})
        await server.command("ZADD", presence_keys.holders(deployment.prefix), "XX", 1, dead.holding.name)
        await server.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(Unavailable):
            await alive.presence.enter(channel, {UserId("dora"): None})
        await alive.look()
        roster = await alive.presence.read(channel, 10)
        assert users(roster) == [BERT, CARL]
        assert roster.head.version == 4
        assert (await alive.presence.leave(channel, [CARL])).count == 1


async def test_8_first_users_and_last_ones_turn_a_roster(deployment: Deployment, channel: ChannelName) -> None:
    """Whoever comes between is no turn, nor who comes or goes again."""
    replica = await deployment.open()
    presence = replica.presence
    await presence.enter(channel, {ANNA: None, BERT: None})
    await presence.enter(channel, {ANNA: None, CARL: None})
    await presence.leave(channel, [ANNA, BERT])
    await presence.enter(channel, {CARL: None})
    await presence.leave(channel, [CARL])
    await presence.leave(channel, [CARL])
    other = ChannelName(f"{channel}:other")
    await presence.enter(other, {ANNA: None})
    assert await replica.turned(3) == [(channel, 2, 2), (channel, 6, 0), (other, 1, 1)]


async def test_8_a_replica_is_told_of_its_own_turns(sharing: Sharing, channel: ChannelName) -> None:
    """And of those that it made for a dead one; no other replica is."""
    dead, alive = await sharing.open(), await sharing.open()
    kept, empty = ChannelName(f"{channel}:kept"), ChannelName(f"{channel}:empty")
    for each in (kept, empty):
        await dead.presence.enter(each, {ANNA: None, BERT: None})
    await alive.presence.enter(kept, {BERT: None})
    assert await dead.turned(2) == [(kept, 2, 2), (empty, 2, 2)]
    sharing.clock.now += LEASE_MS - 1
    assert await alive.presence.renew()
    sharing.clock.now += 1
    await alive.look()
    assert (alive.presence.reaped, dead.presence.reaped) == (3, 0)
    assert await alive.turned(1) == [(empty, 4, 0)]


async def test_8_too_many_turns_drop_the_first() -> None:
    """And are counted."""
    queue, turns = TurnQueue(2), [RosterHead("one", 1, 1), RosterHead("one", 2, 0), RosterHead("one", 3, 1)]
    for head in turns:
        queue.note(ChannelName("room:1"), head, left=1 - head.count, joined=head.count)
    heard = queue.listen()
    assert [(await anext(heard)).head for _ in range(2)] == turns[1:]
    assert queue.dropped == 1
