"""What is about people and webhooks in a PostgreSQL that several replicas use at once, and that fails over."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count as numbers
from time import monotonic

import pytest

from server.adapters.postgres.bus import PostgresBus
from server.adapters.postgres.calls import Calls
from server.adapters.postgres.control import PostgresControl
from server.adapters.postgres.database import Database
from server.adapters.postgres.erasures import PostgresErasures
from server.adapters.postgres.follows import PostgresFollows
from server.adapters.postgres.holding import Holding
from server.adapters.postgres.marks import PostgresMarks
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.online import PostgresOnline
from server.adapters.postgres.presence import PostgresPresence
from server.adapters.postgres.reaper import Reaper
from server.adapters.postgres.replicas import PostgresReplicas
from server.adapters.postgres.revocations import PostgresRevocations
from server.adapters.postgres.shared_secret import shared_secret
from server.adapters.postgres.webhooks import PostgresWebhooks
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation, SessionsEnded
from server.domain.dispatching import DeadLetter, Debt
from server.domain.drafts import Deletion
from server.domain.errors import MaruError, NotFound, Unavailable
from server.domain.identity import UserId
from server.domain.messages import Position
from server.domain.replicas import ReplicaId, ReplicaState
from server.ports.revocations import Held
from tests.contracts.postgres_tables import emptied
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message
from tests.harness.postgres import PgBouncer, PostgresProcess
from tests.harness.seal import SEAL

CHANNELS = [ChannelName(f"room:{number}") for number in range(5)]
USERS = [UserId(f"user-{number}") for number in range(6)]
ENDPOINTS = ("crm", "audit")
ROUNDS = 40

_numbers = numbers(1)


@dataclass(frozen=True)
class Replica:
    """The parts of a replica."""

    log: PostgresMessageLog
    marks: PostgresMarks
    follows: PostgresFollows
    webhooks: PostgresWebhooks
    presence: PostgresPresence
    online: PostgresOnline
    reaper: Reaper


@asynccontextmanager
async def replica(url: str, name: str = "one", max_events: int = 30) -> AsyncIterator[Replica]:
    """A replica, whose bus does not run."""
    async with (
        Database(url) as db,
        PostgresMessageLog(db, max_events=max_events, max_age_ms=1_000 * HOUR_MS, sweep_interval_s=0.05) as log,
    ):
        holding = Holding(db, ReplicaId(name))
        reaper = Reaper(holding)
        presence = PostgresPresence(holding, reaper, Topics(PostgresBus(url), SEAL))
        online = PostgresOnline(holding, reaper)
        yield Replica(log, PostgresMarks(log), PostgresFollows(log), PostgresWebhooks(log), presence, online, reaper)


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresProcess]:
    """A PostgreSQL of the test's own, with the schema."""
    async with PostgresProcess() as process:
        assert await Database(process.url).problem() is None
        yield process


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
async def test_everything_at_once_is_no_deadlock(postgres: PostgresProcess, *, pooled: bool) -> None:
    """Appends, deletions, marks, follows, deliveries, joins, leaves, sessions and reapers of two replicas, over the few
    channels and users: nothing fails, and what is owed in the end is what was not delivered."""
    async with AsyncExitStack() as closing:
        url = postgres.url
        if pooled:
            url = (await closing.enter_async_context(PgBouncer(postgres, size=8))).url
        replicas = [await closing.enter_async_context(replica(url, f"replica-{number}")) for number in range(2)]
        for endpoint in ENDPOINTS:
            await replicas[0].webhooks.open(endpoint, ["room:*"])
        works = (post, delete, read, follow, deliver, come_and_go, count, reap)
        await asyncio.gather(*(work(each, random.Random(7)) for each in replicas for work in works))
        for endpoint in ENDPOINTS:
            for debt in await all_debts(replicas[1].webhooks, endpoint):
                head = (await replicas[1].log.read(debt.channel, 0, 0)).head
                assert await replicas[1].webhooks.deliver(endpoint, debt.channel, debt.delivered, head)
            assert await replicas[0].webhooks.owed(endpoint) == 0
        for channel in CHANNELS:
            roster = await replicas[0].presence.read(channel, 100)
            assert roster.head.count == len(roster.members)
            marks = [await each.marks.marks(USERS[0], [channel]) for each in replicas]
            assert marks[0] == marks[1]
            assert 0 <= marks[0][channel].unread <= 30
    ((deadlocks,),) = await postgres.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'maru'")
    assert deadlocks == 0


async def post(one: Replica, chance: random.Random) -> None:
    """Send, ten at once."""
    for _ in range(ROUNDS):
        drafts = [
            replace(
                new_message(next(_numbers), chance.choice(CHANNELS), user=chance.choice(USERS)),
                mentions=(chance.choice(USERS),),
            )
            for _ in range(10)
        ]
        await asyncio.gather(*map(one.log.append, drafts))


async def delete(one: Replica, chance: random.Random) -> None:
    """Delete messages of the last few."""
    for _ in range(ROUNDS):
        page = await one.log.history(chance.choice(CHANNELS), None, None, 3)
        for message in page.messages[:1]:
            with suppress(NotFound):
                await one.log.append(Deletion(message.channel, message.id, NOW_MS))


async def read(one: Replica, chance: random.Random) -> None:
    """Move marks."""
    for _ in range(ROUNDS):
        await one.marks.mark(chance.choice(CHANNELS), chance.choice(USERS), chance.randrange(500))
        await one.marks.inbox(chance.choice(USERS), CHANNELS)


async def follow(one: Replica, chance: random.Random) -> None:
    """Follow channels, or no longer."""
    for _ in range(ROUNDS):
        change = chance.choice((one.follows.follow, one.follows.unfollow))
        await change(chance.choice(USERS), chance.choice(CHANNELS))


async def deliver(one: Replica, _chance: random.Random) -> None:
    """Deliver what is owed."""
    for _ in range(ROUNDS // 4):
        for endpoint in ENDPOINTS:
            for debt in await all_debts(one.webhooks, endpoint):
                head = (await one.log.read(debt.channel, 0, 0)).head
                await one.webhooks.deliver(endpoint, debt.channel, debt.delivered, head)


async def come_and_go(one: Replica, chance: random.Random) -> None:
    """Enter and leave channels, several at once."""
    for _ in range(ROUNDS):
        entered = [one.presence.enter(each, dict.fromkeys(chance.sample(USERS, 3), "A name")) for each in CHANNELS]
        await asyncio.gather(*entered, *(one.presence.leave(each, chance.sample(USERS, 3)) for each in CHANNELS))


async def count(one: Replica, chance: random.Random) -> None:
    """Count sessions."""
    for _ in range(ROUNDS):
        await one.online.count({user: chance.randrange(3) for user in chance.sample(USERS, 4)})
        await one.online.status(USERS)


async def reap(one: Replica, _chance: random.Random) -> None:
    """Look for dead holders: there are always some."""
    for number in range(ROUNDS // 4):
        holding = Holding(one.log.database, ReplicaId(f"dead-{id(one)}-{number}"), lease_s=0.0, monotonic=lambda: 0.0)
        reaper = Reaper(holding)
        dead = PostgresPresence(holding, reaper, Topics(PostgresBus(one.log.database.url), SEAL))
        holding._ends = 1.0  # noqa: SLF001  # it does not know that its lease has ended
        await holding.set_leases(0.0, (), holding.name)
        with suppress(MaruError):
            await asyncio.gather(*(dead.enter(each, dict.fromkeys(USERS)) for each in CHANNELS))
        await one.reaper.look()


async def all_debts(webhooks: PostgresWebhooks, endpoint: str) -> list[Debt]:
    """All that is owed."""
    return list((await webhooks.debts(endpoint, None, 1_000))[0])


@dataclass(frozen=True)
class FailedOver:
    """A replica that meets a promoted standby, and what was delivered before: each of the channels had one event."""

    replica: Replica
    places: dict[ChannelName, Position]


OWING, CLEAN, BUSY = (ChannelName(f"room:{name}") for name in ("owing", "clean", "busy"))


@pytest.fixture
async def failed_over(postgres: PostgresProcess) -> AsyncIterator[FailedOver]:
    """The log of a standby that had followed."""
    async with replica(postgres.url) as before:
        for number, channel in enumerate((OWING, CLEAN, BUSY)):
            await before.log.append(new_message(number, channel))
        assert await before.webhooks.open("crm", ["room:*"], from_start=True)
        places = {debt.channel: debt.delivered for debt in await all_debts(before.webhooks, "crm")}
        assert {place.offset for place in places.values()} == {0}
        for channel in (CLEAN, BUSY):
            began, places[channel] = places[channel], replace(places[channel], offset=1)
            assert await before.webhooks.deliver("crm", channel, began, places[channel])
        await before.marks.mark(CLEAN, USERS[0], 1)
    async with await postgres.standby() as standby:
        await postgres.caught_up(standby)
        postgres.kill()
        await standby.promote()
        async with replica(standby.url) as after:
            yield FailedOver(after, places)


async def test_a_failover_is_owed_as_a_gap(failed_over: FailedOver) -> None:
    """The channels of a promoted standby have new epochs: each owes that to the endpoints that cover it, whether it had
    owed something, or has new events before the leader looks."""
    one, places = failed_over.replica, failed_over.places
    written = (await one.log.append(new_message(9, BUSY))).event
    assert written.epoch != places[BUSY].epoch
    assert not await one.webhooks.open("crm", ["room:*"])
    found = {debt.channel: debt for debt in await all_debts(one.webhooks, "crm")}
    begins = Position(written.epoch, 1)
    assert found == {
        OWING: Debt(OWING, places[OWING]),
        CLEAN: Debt(CLEAN, places[CLEAN]),
        BUSY: Debt(BUSY, places[BUSY], begins),
    }
    head = (await one.log.read(CLEAN, 0, 0)).head
    assert await one.webhooks.deliver("crm", CLEAN, places[CLEAN], found[CLEAN].place(head))
    assert not await one.webhooks.deliver("crm", BUSY, places[BUSY], replace(begins, offset=2))
    assert await one.webhooks.deliver("crm", BUSY, places[BUSY], begins)
    assert not await one.webhooks.open("crm", ["room:*"])
    left = {debt.channel: debt.delivered for debt in await all_debts(one.webhooks, "crm")}
    assert left == {OWING: places[OWING], BUSY: begins}


async def test_marks_outlive_a_failover(failed_over: FailedOver) -> None:
    """The standby had them."""
    one = failed_over.replica
    (mark,) = (await one.marks.marks(USERS[0], [CLEAN])).values()
    assert (mark.offset, mark.unread, mark.head.offset) == (1, 0, 1)


async def test_presence_begins_anew_after_a_crash(postgres: PostgresProcess) -> None:
    """Rosters are not kept through a crash of PostgreSQL: the renewal tells, and all is entered again. When users were
    seen is kept."""
    room, anna, bert = CHANNELS[0], *USERS[:2]
    async with replica(postgres.url) as one:
        head = await one.presence.enter(room, {anna: "Anna"})
        await one.online.count({anna: 1, bert: 1})
        (seen,) = await one.online.count({bert: 0})
        await one.log.append(new_message(1, room))  # whose commit is on the disk, and that of the other before it
        postgres.kill()
        await postgres.start()
        with pytest.raises(Unavailable):
            await one.presence.enter(room, {anna: "Anna"})
        assert not await one.presence.renew()
        again = await one.presence.enter(room, {anna: "Anna"})
        assert (again.version, again.count) == (1, 1)
        assert again.epoch != head.epoch
        assert await one.online.status([bert]) == [seen]


async def test_strangers_may_write_any_character(postgres: PostgresProcess) -> None:
    """Also the one that texts of PostgreSQL can't have, in names, ids and what an endpoint says."""
    room, strange = CHANNELS[0], 'a\x00 "\\\u2028∂'
    user = UserId(strange)
    async with replica(postgres.url) as one:
        await one.presence.enter(room, {user: strange})
        (member,) = (await one.presence.read(room, 10)).members
        assert (member.user, member.name) == (user, strange)
        assert [status.user for status in await one.online.count({user: 1})] == [user]
        assert (await one.presence.leave(room, [user])).count == 0
        revocations = PostgresRevocations(one.log.database)
        held = Revocation(strange, None, strange, 0, 10**13)
        await revocations.add(held)
        await revocations.deny(Denial(room, user, 10**13))
        assert await revocations.load() == Held([held], [Denial(room, user, 10**13)])
        await one.webhooks.open("crm")
        event = (await one.log.append(new_message(1, room))).event
        letter = DeadLetter("", room, event.epoch, 1, 1, strange, NOW_MS)
        assert await one.webhooks.bury("crm", Position(event.epoch, 0), letter, Position(event.epoch, 1))
        assert [each.reason for each in await one.webhooks.dead("crm", None, 10)] == [strange]


async def test_an_endpoint_that_nobody_opens_is_forgotten(postgres: PostgresProcess) -> None:
    """With its debts, letters and lead, when another is opened a week later."""
    await emptied(postgres)
    async with replica(postgres.url) as one:
        for endpoint in ENDPOINTS:
            await one.webhooks.open(endpoint)
            await one.webhooks.lead(endpoint, ReplicaId("one"))
        await one.log.append(new_message(1, CHANNELS[0]))
        await postgres.query("UPDATE maru.webhook_endpoints SET opened_at = 1 WHERE name = 'crm'")
        assert not await one.webhooks.open("audit")
        assert (await one.webhooks.owed("crm"), await one.webhooks.owed("audit")) == (0, 1)
        assert await one.webhooks.lead("crm", ReplicaId("two"))
        assert await one.webhooks.open("crm")


async def test_whatever_is_asked_of_a_frozen_postgres_is_unavailable(postgres: PostgresProcess) -> None:
    """Within two seconds, however many calls there are; once it answers again, so do all."""
    room, anna = CHANNELS[0], USERS[0]
    async with replica(postgres.url) as one:
        await one.presence.enter(room, {anna: None})
        place = (await one.log.append(new_message(1, room))).event
        at = Position(place.epoch, place.offset)
        db = one.log.database
        revocations, erasures, control = PostgresRevocations(db), PostgresErasures(db), PostgresControl(db)
        replicas = PostgresReplicas(db, ReplicaId("one"), version="1")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: one.marks.mark(room, anna, 1),
            lambda: one.marks.inbox(anna, CHANNELS),
            lambda: one.marks.receipts(room, 10),
            lambda: one.follows.follow(anna, room),
            lambda: one.webhooks.open("crm"),
            lambda: one.webhooks.debts("crm", None, 10),
            lambda: one.webhooks.deliver("crm", room, at, at),
            lambda: one.webhooks.lead("crm", ReplicaId("one")),
            lambda: one.presence.enter(room, {anna: None}),
            lambda: one.presence.leave(room, [anna]),
            lambda: one.presence.read(room, 10),
            one.presence.renew,
            lambda: one.online.count({anna: 1}),
            lambda: one.online.status([anna]),
            revocations.load,
            erasures.all,
            lambda: control.append(SessionsEnded(anna, reconnect=False)),
            lambda: replicas.renew(ReplicaState.SERVING, {}),
            replicas.living,
            lambda: shared_secret(db),
        ]
        postgres.freeze()
        began = monotonic()
        results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
        took = monotonic() - began
        postgres.thaw()
        assert {type(result) for result in results} == {Unavailable}
        assert took < 2.2  # two seconds, and a busy machine
        for call in calls:
            await call()


async def test_types_are_asked_for_when_a_connection_is_new() -> None:
    """And never by a statement that somebody waits for: with JIT, that may take PostgreSQL seconds."""
    async with PostgresProcess({"log_statement": "all"}) as server:
        async with replica(server.url) as one:
            for work in (post, delete, read, follow, come_and_go, count, reap):
                await work(one, random.Random(7))
        lines = (server.folder / "postgres.log").read_text()
    assert lines.count("WITH RECURSIVE typeinfo_tree") == lines.count("SELECT $1::bigint[], $2::int[]") > 0


async def test_a_fault_of_ours_leaves_no_call_waiting() -> None:
    """The calls of the batch are refused, and later ones are made."""

    async def send(numbers: Sequence[int]) -> Sequence[int]:
        return [100 // number for number in numbers]

    calls = Calls(send)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await calls.ask(0)
        assert await calls.ask(5) == 20
