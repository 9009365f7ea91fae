"""The message log in PostgreSQL: dense under many writers, a pooler before it, another database in its place."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from server.adapters.postgres.database import Database
from server.adapters.postgres.intake import CROWDED, WAITING_LIMIT
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.reactions import PostgresReactions
from server.domain.appending import Appended, id_taken
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Reaction, Revision, Sender
from server.domain.errors import Conflict, Overloaded, Unavailable
from server.domain.events import MessageCreated, MessageErased
from server.domain.identity import UserId
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.postgres import PgBouncer, PostgresProcess
from tests.harness.waiting import polled

DEADLINE_S = 20.0
_numbers = count(1)
T = TypeVar("T")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[PostgresProcess]:
    """One PostgreSQL for this module, with the schema."""
    async with PostgresProcess() as process:
        async with Database(process.url) as database:
            await polled(lambda: made(database), DEADLINE_S, process.log)
        yield process


async def made(database: Database) -> bool:
    """Whether the schema is there now."""
    try:
        await database.known()
    except Unavailable:
        return False
    return True


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"postgres:{next(_numbers)}")


@asynccontextmanager
async def log_at(url: str, **how: Any) -> AsyncIterator[PostgresMessageLog]:
    """The log of a replica."""
    how = {"max_events": 100_000, "max_age_ms": 10**13} | how
    async with Database(url) as database, PostgresMessageLog(database, **how) as log:
        yield log


async def offsets(log: PostgresMessageLog, channel: ChannelName) -> list[int]:
    """The offsets of all that the channel keeps."""
    replay = await log.read(channel, (await log.read(channel, 0, 0)).floor, 100_000)
    return [entry.offset for entry in replay.events]


async def kept(call: Callable[[], Awaitable[T]]) -> T:
    """The outcome of a call, which is repeated as clients do: the machine may be busy."""
    async with asyncio.timeout(3 * DEADLINE_S):
        while True:
            try:
                return await call()
            except (Unavailable, Overloaded):
                continue


def thumb(draft: NewMessage, user: str) -> Reaction:
    """A reaction to the message."""
    return Reaction(draft.channel, draft.id, "👍", UserId(user), add=True, at=NOW_MS)


async def test_six_writers_at_once_leave_no_hole(postgres: PostgresProcess) -> None:
    """Replicas that write into the same new channels, in different orders, with keys that they all repeat and with
    edits and reactions between: every channel is dense, each key is one event, nothing waits for ever."""
    channels = [ChannelName(f"dense:{number}") for number in range(30)]

    async def writer(number: int) -> None:
        async with log_at(postgres.url) as log:
            ids = count(1_000_000 * (number + 1))
            drafts = [
                replace(new_message(1, channel, key=key), id=some_id(next(ids)))
                for turn in range(6)
                for channel in (channels if (number + turn) % 2 else channels[::-1])
                for key in (f"k{turn}", None)
            ]
            written = await asyncio.gather(*(kept(partial(log.append, draft)) for draft in drafts))
            reactions = PostgresReactions(log)
            await asyncio.gather(
                *(
                    kept(partial(reactions.react, thumb(draft, f"u{number}")))
                    for draft, each in zip(drafts, written, strict=True)
                    if not each.duplicate
                )
            )

    await asyncio.gather(*(writer(number) for number in range(6)))
    async with log_at(postgres.url) as log:
        for channel in channels:
            replay = await log.read(channel, 0, 10_000)
            assert [entry.offset for entry in replay.events] == list(range(1, replay.head.offset + 1))
            keys = [entry.message.key for entry in replay.events if isinstance(entry, MessageCreated)]
            assert sorted(key for key in keys if key) == sorted(f"k{turn}" for turn in range(6))
    deadlocks = await postgres.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'maru'")
    assert [tuple(row) for row in deadlocks] == [(0,)]


async def test_through_a_pooler_that_lends_by_transactions(postgres: PostgresProcess, channel: ChannelName) -> None:
    """Every statement may meet another connection of the server; none is prepared by name."""
    async with PgBouncer(postgres, size=3) as pooler, log_at(pooler.url) as log:
        await asyncio.gather(*(log.append(new_message(number, channel)) for number in range(200)))
        await log.append(Revision(channel, some_id(3), "edited", None, keep_data=False, at=NOW_MS))
        pages = await asyncio.gather(*(log.history(channel, None, None, 50) for _ in range(20)))
        assert {len(page.messages) for page in pages} == {50}
        assert await offsets(log, channel) == list(range(1, 202))


async def test_a_pooler_that_comes_later(channel: ChannelName) -> None:
    """At the address of PostgreSQL there is a PgBouncer now: statements are not prepared any more."""
    async with PostgresProcess() as postgres, log_at(postgres.url) as log:
        await kept(partial(log.append, new_message(1, channel, key="1")))
        async with PgBouncer(postgres, size=2) as pooler:
            await asyncio.to_thread(postgres.stop)
            pooler.kill()
            pooler.port, postgres.port = postgres.port, pooler.port
            await postgres.start()
            await pooler.start()

            async def all_answered() -> bool:
                reads = [log.read(channel, 0, 10), log.history(channel, None, None, 10), log.heads([channel])]
                found = await asyncio.gather(*reads, return_exceptions=True)
                return not any(isinstance(each, Exception) for each in found)

            await polled(all_answered, DEADLINE_S, lambda: "reads are answered")
            for number in range(2, 30):
                await kept(partial(log.append, new_message(number, channel, key=str(number))))
            assert await offsets(log, channel) == list(range(1, 30))


async def test_a_restart_behind_a_pooler_is_noticed(channel: ChannelName) -> None:
    """The connection to the pooler stays, while PostgreSQL behind it was started anew: each call is answered."""
    async with PostgresProcess() as postgres, PgBouncer(postgres) as pooler, log_at(pooler.url) as log:
        first = await log.append(new_message(1, channel))
        life = log.database.life
        await postgres.restart()

        async def answers() -> bool:
            try:
                return (await log.read(channel, 0, 10)).head.offset == 1
            except Unavailable:
                return False

        await polled(answers, DEADLINE_S, lambda: "reads are answered again")
        second = await log.append(new_message(2, channel))
        assert (second.event.epoch, second.event.offset) == (first.event.epoch, 2)
        assert log.database.life != life


async def test_another_database_in_its_place(channel: ChannelName) -> None:
    """A log that was lost while replicas live has new epochs, and takes events again."""
    async with PostgresProcess() as postgres, log_at(postgres.url) as log:
        first = await log.append(new_message(1, channel))
        await asyncio.to_thread(postgres.psql, "DROP SCHEMA maru CASCADE")
        await postgres.restart()

        again: list[Appended] = []

        async def written() -> bool:
            try:
                again.append(await log.append(new_message(2, channel)))
            except Unavailable:
                return False
            return True

        await polled(written, DEADLINE_S, lambda: "an append is answered")
        assert again[0].event.offset == 1
        assert again[0].event.epoch != first.event.epoch


async def test_an_older_log_is_found_out(channel: ChannelName) -> None:
    """PostgreSQL comes back without an event that was seen, as after a crash without `synchronous_commit`, or with
    another in its place: the channel has a new epoch, once, and others keep theirs."""
    other, replaced = ChannelName(f"{channel}:other"), ChannelName(f"{channel}:replaced")
    async with PostgresProcess() as postgres, log_at(postgres.url) as one, log_at(postgres.url) as two:
        before = {}
        for name in (channel, other, replaced):
            await one.append(new_message(1, name))
            appended = await one.append(new_message(2, name))
            two.note(appended.event)
            before[name] = appended.event.epoch
        await postgres.query(
            "DELETE FROM maru.events e USING maru.channels c"
            ' WHERE c.id = e.channel_id AND c.name = $1 AND e."offset" = 2',
            channel,
        )
        await postgres.query("UPDATE maru.channels SET head = 1 WHERE name = $1", channel)
        await postgres.query(
            "UPDATE maru.events e SET at = 7 FROM maru.channels c"
            ' WHERE c.id = e.channel_id AND c.name = $1 AND e."offset" = 2',
            replaced,
        )
        await postgres.restart()
        heads = []
        for log in (one, two):

            async def answers(log: PostgresMessageLog = log) -> bool:
                try:
                    heads.append({name: (await log.read(name, 0, 0)).head for name in before})
                except Unavailable:
                    return False
                return True

            await polled(answers, DEADLINE_S, lambda: "reads are answered")
        assert heads[0] == heads[1]
        assert heads[0][channel].offset == 1
        assert [heads[0][name].epoch == before[name] for name in (channel, other, replaced)] == [False, True, False]
        assert (await one.append(new_message(3, channel))).event.epoch == heads[0][channel].epoch


async def test_replicas_that_start_at_once_make_one_schema() -> None:
    """The first makes it under a lock, the others wait; all find the same store."""
    async with PostgresProcess() as postgres, AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(Database(postgres.url)) for _ in range(6)]
        await asyncio.gather(
            *(polled(lambda each=each: made(each), DEADLINE_S, postgres.log) for each in databases)  # type: ignore[misc]
        )
        assert len({each.identity for each in databases}) == 1


async def test_too_many_drafts_are_refused(postgres: PostgresProcess, channel: ChannelName) -> None:
    """Over the bound of the queue nothing is written; a part of it asks clients to wait for their outcomes."""
    async with log_at(postgres.url) as log:
        await log.append(new_message(0, channel))
        appends = [log.append(Deletion(channel, some_id(7), NOW_MS)) for _ in range(CROWDED)]
        assert log.crowded
        appends += [log.append(Deletion(channel, some_id(7), NOW_MS)) for _ in range(WAITING_LIMIT - CROWDED)]
        outcomes: list[Any] = []
        sender = Sender()
        log.submit(new_message(1, channel), sender, outcomes.append)
        assert isinstance(outcomes[0], Overloaded)
        assert sender.failed
        log.submit(new_message(2, channel), sender, outcomes.append)
        assert isinstance(outcomes[1], Unavailable)
        await asyncio.gather(*appends, return_exceptions=True)
        assert (await log.read(channel, 0, 0)).head.offset == 1


async def test_an_id_that_is_taken_among_others(postgres: PostgresProcess, channel: ChannelName) -> None:
    """The batch is written singly: only the draft with the id is refused."""
    async with log_at(postgres.url) as log:
        await log.append(new_message(1, channel))
        drafts = [new_message(number, channel) for number in (2, 1, 3)]
        outcomes = await asyncio.gather(*map(log.append, drafts), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Appended, Conflict, Appended]
        assert str(outcomes[1]) == str(id_taken())
        assert await offsets(log, channel) == [1, 2, 3]


async def test_a_message_with_very_many_edits_is_erased(postgres: PostgresProcess, channel: ChannelName) -> None:
    """Its edits are shown as erased from the deletion on, though the last of them are erased by the sweep."""
    async with log_at(postgres.url, sweep_interval_s=3600.0) as log:
        await log.append(new_message(1, channel))
        edits = [Revision(channel, some_id(1), f"secret {n}", None, keep_data=False, at=NOW_MS + n) for n in range(700)]
        await asyncio.gather(*map(log.append, edits))
        await log.append(Deletion(channel, some_id(1), NOW_MS))
        events = (await log.read(channel, 0, 1_000)).events
        assert len(events) == 702
        assert all(isinstance(entry, MessageErased) for entry in events[:-1])
        assert [entry.at for entry in events[1:701]] == [NOW_MS + n for n in range(700)]
    left = "SELECT count(*) FROM maru.events WHERE payload LIKE '%secret%'"
    assert [tuple(row) for row in await postgres.query(left)] == [(200,)]
    async with log_at(postgres.url, sweep_interval_s=0.02):

        async def erased() -> bool:
            return [tuple(row) for row in await postgres.query(left)] == [(0,)]

        await polled(erased, DEADLINE_S, lambda: "no text is left")
    assert not await postgres.query("SELECT FROM maru.erasing")


async def test_what_can_not_be_read_is_unavailable(postgres: PostgresProcess, channel: ChannelName) -> None:
    """A damaged entry, a hole, and a change of a message that can't be read; another channel is not concerned."""
    other = ChannelName(f"{channel}:other")
    async with log_at(postgres.url) as log:
        for name in (channel, other):
            await asyncio.gather(*(log.append(new_message(number, name, key=f"k{number}")) for number in (1, 2, 3)))
        damage = "UPDATE maru.events e SET payload = $3 FROM maru.channels c WHERE c.id = e.channel_id AND c.name = $1"
        await postgres.query(damage + ' AND e."offset" = $2', channel, 2, b"{")
        for call in (log.read(channel, 0, 10), log.history(channel, None, None, 10), log.message(channel, some_id(2))):
            with pytest.raises(Unavailable):
                await call
        outcomes: list[Any] = []
        sender = Sender()
        for draft in (Deletion(channel, some_id(2), NOW_MS), Deletion(channel, some_id(1), NOW_MS)):
            log.submit(draft, sender, outcomes.append)
        await polled(lambda: len(outcomes) == 2, DEADLINE_S, lambda: "two outcomes")
        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        repeated = await log.append(replace(new_message(9, channel, key="k2"), text="again"))
        assert (repeated.duplicate, repeated.event.offset) == (True, 2)
        assert (await log.read(channel, 2, 10)).head.offset == 3
        await postgres.query(
            "DELETE FROM maru.events e USING maru.channels c WHERE c.id = e.channel_id"
            ' AND c.name = $1 AND e."offset" = 2',
            channel,
        )
        with pytest.raises(Unavailable):
            await log.read(channel, 0, 10)
        assert await offsets(log, other) == [1, 2, 3]


async def test_the_sweep_goes_in_steps_and_forgets_keys(postgres: PostgresProcess, channel: ChannelName) -> None:
    """Thousands of old events of a channel go, over several steps; keys go once they have expired."""
    now = [NOW_MS]
    how: dict[str, Any] = {"now_ms": lambda: now[0], "max_age_ms": HOUR_MS}
    async with log_at(postgres.url, **how, sweep_interval_s=3600.0) as log:
        for turn in range(25):
            batch = [new_message(100 * turn + n, channel, key=f"k{turn}-{n}") for n in range(100)]
            await asyncio.gather(*map(log.append, batch))
    now[0] += 25 * HOUR_MS
    async with log_at(postgres.url, **how, sweep_interval_s=0.02) as log:

        async def swept() -> bool:
            return (await log.read(channel, 0, 0)).floor == 2_500 and not await postgres.query(
                "SELECT FROM maru.keys k JOIN maru.channels c ON c.id = k.channel_id WHERE c.name = $1 LIMIT 1", channel
            )

        await polled(swept, DEADLINE_S, lambda: "events and keys are gone")
        assert not await postgres.query(
            "SELECT FROM maru.events e JOIN maru.channels c ON c.id = e.channel_id WHERE c.name = $1", channel
        )
        assert (await log.append(new_message(1, channel, key="k1"))).event.offset == 2_501


async def test_head_updates_touch_no_index(postgres: PostgresProcess, channel: ChannelName) -> None:
    """An append changes a channel's row in place (HOT): else each would write the row's indexes, too."""
    async with log_at(postgres.url) as log:
        for number in range(50):
            await log.append(new_message(number, channel))

    async def counted() -> bool:
        ((updates, hot),) = await postgres.query(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'channels'"
        )
        return bool(updates >= 50 and hot >= updates / 2)  # a page that is full ends it for a while

    await polled(counted, DEADLINE_S, lambda: "updates of heads are HOT")
