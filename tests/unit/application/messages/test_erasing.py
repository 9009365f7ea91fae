"""Erasing a user's messages, in virtual time, over the log in memory: steps, crashes, others' rates, other replicas."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count, product

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.erasures import MemoryErasures
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.replicas import MemoryReplicas
from server.application.messages.authored import REFILL_S
from server.application.messages.erasing import OPEN_LIMIT, RETRY_S, STEP, TRIES
from server.application.messages.erasures import AT_ONCE, LOOK_S, PAUSE_S, Eraser, Progress
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft
from server.domain.erasures import SLACK_MS, Erasure, Step
from server.domain.errors import NotFound, Unavailable
from server.domain.events import MessageDeleted
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.messages import Message, Tombstone
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.message_log import Page
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message
from tests.doubles.virtual_time import turns, virtually

ALICE, BOB = UserId("alice"), UserId("bob")
OTHER = ChannelName("room:2")
ENOUGH_S = 25.0


class Log(MemoryMessageLog):
    """Can refuse, or break; notes what is deleted, and when."""

    def __init__(self, rate: Rate | None = None) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(max_events=100_000, max_age_ms=HOUR_MS, rate=rate, now_ms=lambda: NOW_MS, clock=loop.time)
        self.deleted = list[tuple[float, ChannelName]]()
        self.refusals = list[Exception]()  # of the next deletions
        self.unreadable = set[ChannelName]()
        self.hints = False  # by itself
        self.hangs: asyncio.Event | None = None
        self._loop = loop

    async def append(self, draft: Draft) -> Appended:
        if isinstance(draft, Deletion):
            if self.refusals:
                raise self.refusals.pop(0)
            if self.hangs is not None:
                await self.hangs.wait()
            self.deleted.append((self._loop.time(), draft.channel))
        return replace(await super().append(draft), hinted=self.hints)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        if channel in self.unreadable:
            raise Unavailable("damaged")
        return await super().history(channel, before, after, limit)


class Store(MemoryErasures):
    """Can be away for some calls; or answer with an error after it has written."""

    spared = 0  # calls before those
    away = 0  # calls that fail
    mute = 0  # changes whose answers are lost
    overtaken: Erasure | None = None  # is written before the next change

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        self._fail()
        names, _ = await super().channels(user, None)
        number = int(after or 0)  # a page is a channel
        return names[number : number + 1], str(number + 1) if number + 1 < len(names) else None

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        self._fail()
        if self.overtaken is not None:
            self._kept[old.id], self.overtaken = self.overtaken, None
        replaced = await super().replace(old, new)
        if self.mute and not self.spared:
            self.mute -= 1
            raise Unavailable("the answer was lost")
        return replaced

    def forget(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()

    def _fail(self) -> None:
        if self.spared:
            self.spared -= 1
        elif self.away:
            self.away -= 1
            raise Unavailable("away")


class Fleet(MemoryReplicas):
    """Replicas of which some live."""

    def __init__(self, id: str, living: set[str]) -> None:
        super().__init__(ReplicaId(id), version="1")
        self._living = living

    async def living(self) -> Sequence[ReplicaRow]:
        return [ReplicaRow(ReplicaId(id), ReplicaState.SERVING, "1", 0, 0, {}) for id in sorted(self._living)]


class Stage:
    """A log, its erasures, and the replicas that work on them."""

    def __init__(self, rate: Rate | None = None, half_of: Rate | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.log, self.broadcast, self.living = Log(rate), MemoryBroadcast(), set[str]()
        self.store, self.now_ms = Store(self.log), NOW_MS
        self._rate, self._ids, self._numbers = rate or half_of, count(1), count(1)

    async def write(self, number: int, channel: ChannelName = ROOM, user: str = "alice") -> None:
        """Messages of a user."""
        for _ in range(number):
            await self.log.append(new_message(next(self._numbers) % 1_000_000, channel, user=user))

    def eraser(self, id: str = "one") -> Eraser:
        """A replica that lives."""
        self.living.add(id)
        return Eraser(
            self.log,
            self.broadcast,
            self.store,
            Fleet(id, self.living),
            rate=self._rate,
            now_ms=lambda: self.now_ms,
            new_id=lambda: f"id-{next(self._ids)}",
            clock=self.loop.time,
        )

    @asynccontextmanager
    async def running(self, id: str = "one") -> AsyncIterator[Eraser]:
        """A replica that works; at the end it is killed."""
        eraser = self.eraser(id)
        task = asyncio.create_task(eraser.run())
        try:
            yield eraser
        finally:
            self.living.discard(id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def left(self, channel: ChannelName = ROOM, user: UserId = ALICE) -> int:
        """How many messages of the user the channel has."""
        page = await self.log.history(channel, None, 0, 100_000)
        return sum(isinstance(each, Message) and each.author.id == user for each in page.messages)


def never() -> bool:
    """The server does not stop."""
    return False


async def erase(eraser: Eraser, wait_s: float = ENOUGH_S, key: str | None = None) -> Progress:
    """Ask for an erasure of alice's messages."""
    return await eraser.erase(ALICE, key, wait_s, never)


def test_all_messages_of_a_user_are_erased() -> None:
    """In every channel, whoever else writes there; others' stay. Members are told of each, and nothing names who did
    it."""

    async def scenario() -> None:
        stage = Stage()
        await stage.broadcast.subscribe(ROOM)
        for _ in range(150):
            await stage.write(1)
            await stage.write(1, user="bob")
        await stage.write(3, OTHER)
        hints = stage.broadcast.listen()
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(153, done=True)
            assert eraser.erased == 153
            assert [await stage.left(), await stage.left(OTHER), await stage.left(user=BOB)] == [0, 0, 150]
            hinted = [await anext(hints) for _ in range(150)]
            assert all(isinstance(hint, MessageDeleted) and hint.by is None for hint in hinted)
            assert await erase(eraser) == Progress(0, done=True)
            await turns(10)
            assert eraser.unfinished == 0

    virtually(scenario)


def test_many_channels_are_worked_on_in_turn() -> None:
    """More than are open at a time; a log that hints by itself is not hinted at twice."""

    async def scenario() -> None:
        stage = Stage()
        stage.log.hints = True
        for number in range(OPEN_LIMIT + 8):
            await stage.broadcast.subscribe(channel := ChannelName(f"room:{number}"))
            await stage.write(2, channel)
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(2 * (OPEN_LIMIT + 8), done=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(stage.broadcast.listen())

    virtually(scenario)


def test_without_messages_nothing_is_to_be_done() -> None:
    """A user who never wrote; or whose messages are deleted."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(1, user="bob")
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(0, done=True)
        assert stage.log.deleted == []

    virtually(scenario)


def test_steps_leave_the_log_to_others() -> None:
    """A step has a bounded number of messages, and the one after it waits for as long as it took."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3 * STEP)
        stage.log.hangs = asyncio.Event()
        async with stage.running() as eraser:
            asking = asyncio.create_task(erase(eraser))
            await asyncio.sleep(0.2)
            assert await stage.left() == 3 * STEP
            stage.log.hangs.set()
            await turns(500)
            assert len(stage.log.deleted) == STEP
            assert await asking == Progress(3 * STEP, done=True)
            gaps = sorted({at for at, _ in stage.log.deleted})
            assert gaps[1] - gaps[0] >= 0.2

    virtually(scenario)


def test_a_channel_keeps_half_of_its_rate() -> None:
    """And others go on meanwhile."""

    async def scenario() -> None:
        stage = Stage(half_of=Rate(40, 80))
        await stage.write(200)
        await stage.write(20, OTHER)
        async with stage.running() as eraser:
            assert await erase(eraser, 3.0) == Progress(20 + 40 + 20 + 20, done=False)
            assert await erase(eraser) == Progress(220, done=True)
        first = [at for at, channel in stage.log.deleted if channel == ROOM]
        assert sum(at < REFILL_S for at in first) == 40
        assert max(at for at, channel in stage.log.deleted if channel == OTHER) < REFILL_S

    virtually(scenario)


def test_a_rate_that_others_use_up_is_waited_for() -> None:
    """As the log says."""

    async def scenario() -> None:
        stage = Stage(Rate(10, 20))
        for _ in range(4):
            await stage.write(10)
            await asyncio.sleep(1)
        await stage.write(10, user="bob")
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(40, done=True)

    virtually(scenario)


def test_a_request_does_not_wait_for_ever() -> None:
    """When its time is over, or the server stops, it tells how far the work is; the work goes on."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(2 * STEP)
        stage.log.hangs = asyncio.Event()
        async with stage.running() as eraser:
            assert await erase(eraser, 1.0) == Progress(0, done=False)
            assert await eraser.erase(ALICE, None, ENOUGH_S, lambda: True) == Progress(0, done=False)
            stage.log.hangs.set()
            await asyncio.sleep(2)
            assert await stage.left() == 0
        idle = stage.eraser("two")
        assert await erase(idle, 1.0) == Progress(0, done=False)

    virtually(scenario)


def test_a_request_joins_the_erasure_under_way() -> None:
    """And extends it to now: also to a channel that was looked through before. With a key, it is the same erasure for
    a day, also when it is done."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(1)
        await stage.write(2 * STEP, OTHER)
        async with stage.running() as eraser:
            asking = asyncio.create_task(erase(eraser))
            while not stage.log.deleted:
                await turns(1)
            stage.log.hangs = asyncio.Event()
            await asyncio.sleep(1)
            stage.now_ms += 2 * SLACK_MS
            late = replace(new_message(900_000), at=stage.now_ms)
            await stage.log.append(late)
            joined = asyncio.create_task(erase(eraser))
            await asyncio.sleep(1)
            stage.log.hangs.set()
            assert await asking == await joined == Progress(2 * STEP + 2, done=True)
            await stage.write(2)
            assert await erase(eraser, key="k") == Progress(2, done=True)
            await stage.write(1)
            assert await erase(eraser, key="k") == Progress(2, done=True)
            assert await stage.left() == 1

    virtually(scenario)


def test_later_messages_stay() -> None:
    """Those of a minute after the request, since clocks may differ by so much."""

    async def scenario() -> None:
        stage = Stage()
        for at in (NOW_MS + SLACK_MS, NOW_MS + SLACK_MS + 1):
            await stage.log.append(replace(new_message(at - NOW_MS), at=at))
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(1, done=True)
        assert await stage.left() == 1

    virtually(scenario)


@pytest.mark.parametrize("deletions", [0, 1, STEP - 1, STEP, STEP + 7])
def test_a_crash_neither_forgets_nor_loses_count(deletions: int) -> None:
    """Killed after any number of deletions, the work is taken up by another replica, and each message counts once."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(100, OTHER, user="bob")
        await stage.write(2 * STEP + 10)
        async with stage.running() as eraser:
            asking = asyncio.create_task(erase(eraser))
            while len(stage.log.deleted) < deletions:
                await turns(1)
            stage.log.hangs = asyncio.Event()
            await turns(300)
            asking.cancel()
        stage.log.hangs.set()
        async with stage.running("two") as other:
            await asyncio.sleep(1)
            (kept,) = await stage.store.all()
            assert (kept.erased, kept.leader, kept.step) == (2 * STEP + 10, "two", None)
            assert kept.done_at is not None
            assert other.erased <= 2 * STEP + 10
        assert await stage.left() == 0

    virtually(scenario)


def test_a_replica_that_lives_is_not_disturbed() -> None:
    """Another takes the work over when it is gone, by itself; a request there waits for the end."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(10)
        stage.log.hangs = asyncio.Event()
        async with stage.running("two") as other:
            async with stage.running() as eraser:
                asking = asyncio.create_task(erase(eraser))
                await asyncio.sleep(1)
                joined = asyncio.create_task(erase(other, 60))
                await asyncio.sleep(2 * LOOK_S)
                assert (await stage.store.all())[0].leader == "one"
                asking.cancel()
            stage.log.hangs.set()
            assert await joined == Progress(10, done=True)
            assert (await stage.store.all())[0].leader == "two"

    virtually(scenario)


def test_a_replica_that_was_taken_for_dead_stops() -> None:
    """It finds the work in other hands; nothing counts twice."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(2 * STEP)
        stage.log.hangs = asyncio.Event()
        async with stage.running() as eraser:
            asking = asyncio.create_task(erase(eraser))
            await asyncio.sleep(1)
            stage.living.discard("one")
            async with stage.running("two"):
                await asyncio.sleep(1)
                stage.log.hangs.set()
                assert await asking == Progress(2 * STEP, done=True)
                assert (await stage.store.all())[0].leader == "two"
                await asyncio.sleep(5)
                assert eraser.erased <= 2 * STEP

    virtually(scenario)


def test_the_store_may_be_away_for_a_while() -> None:
    """Its calls are tried again, and an answer that was lost does no harm."""

    async def scenario() -> None:
        faults = ((1, 0), (2, 0), (5, 0), (0, 1), (0, 2), (0, 4))
        for spared, (away, mute) in product(range(8), faults):
            stage = Stage()
            await stage.write(STEP + 1)
            async with stage.running() as eraser:
                stage.store.spared, stage.store.away, stage.store.mute = spared, away, mute
                assert await erase(eraser) == Progress(STEP + 1, done=True)

    virtually(scenario)


def test_a_log_that_refuses_is_asked_again() -> None:
    """A message that is too old by now is gone; if a deletion fails for long, its channel waits, and counts once."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3)
        await stage.write(3, OTHER)
        stage.log.refusals = [Unavailable("away"), NotFound("too old")]
        async with stage.running() as eraser:
            progress = await erase(eraser)
            assert progress == Progress(6, done=True)
        stage = Stage()
        await stage.write(1)
        await stage.write(3, OTHER)
        stage.log.refusals = [Unavailable("away")] * (TRIES + 1)
        async with stage.running() as eraser:
            assert await erase(eraser, 60) == Progress(4, done=True)
            assert stage.loop.time() > TRIES * RETRY_S

    virtually(scenario)


def test_a_channel_that_can_not_be_read_holds_up_no_other() -> None:
    """It is tried again, at longer and longer intervals; the erasure is done when it could be read."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3)
        await stage.write(3, OTHER)
        stage.log.unreadable = {ROOM}
        async with stage.running() as eraser:
            assert await erase(eraser) == Progress(3, done=False)
            stage.log.unreadable.clear()
            assert await erase(eraser, 120) == Progress(6, done=True)

    virtually(scenario)


def test_damaged_channels_hold_up_no_other_user() -> None:
    """Also if as many erasures wait for them as there may be at a time: they are tried again, ever more seldom."""

    async def scenario() -> None:
        stage = Stage()
        users = [UserId(f"user-{number}") for number in range(AT_ONCE + 1)]
        for user in users:
            for number in range(OPEN_LIMIT):
                await stage.write(1, channel := ChannelName(f"damaged:{number}"), user)
                stage.log.unreadable.add(channel)
            await stage.write(STEP + 1, OTHER, user)
        await stage.write(1, OTHER)
        async with stage.running() as eraser:
            asked = [asyncio.create_task(eraser.erase(user, "key", ENOUGH_S, never)) for user in users]
            await turns(1)
            assert await erase(eraser) == Progress(1, done=False)  # the memory gives every channel to everybody
            assert await asyncio.gather(*asked) == [Progress(STEP + 1, done=False)] * len(users)
            stage.log.unreadable.clear()
            for user in users:
                assert await eraser.erase(user, "key", 100, never) == Progress(OPEN_LIMIT + STEP + 1, done=True)

    virtually(scenario)


def test_a_channel_that_refuses_deletions_holds_up_no_other_user() -> None:
    """What is gone of its step counts, and the rest is found again; a step of a dead replica there goes no further."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3)
        await stage.store.add(Erasure("a", ALICE, NOW_MS, NOW_MS))
        await stage.write(3, user="bob")
        await stage.store.add(Erasure("b", BOB, NOW_MS, NOW_MS, step=Step(ROOM, 0, 6, 3), leader=ReplicaId("gone")))
        stage.log.refusals = [Unavailable("away")] * 1_000
        await stage.write(1, OTHER, "carol")
        async with stage.running() as eraser:
            await asyncio.sleep(3 * TRIES)
            assert eraser.erased == 0
            stage.log.refusals.clear()
            assert await eraser.erase(UserId("carol"), None, ENOUGH_S, never) == Progress(1, done=True)
            await asyncio.sleep(300)
            kept = [await stage.store.find(id) for id in ("a", "b")]
            assert [(each.erased, each.done_at) for each in kept if each is not None] == [(3, NOW_MS)] * 2

    virtually(scenario)


def test_the_rest_of_a_step_is_tried_until_it_is_done() -> None:
    """Also if its channel can't be read when the work is taken up."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3)
        began = Erasure("a", ALICE, NOW_MS, NOW_MS, erased=5, step=Step(ROOM, 0, 2, 7), leader=ReplicaId("gone"))
        await stage.store.add(began)
        stage.log.unreadable = {ROOM}
        async with stage.running() as eraser:
            await asyncio.sleep(3)
            assert stage.log.deleted == []
            stage.log.unreadable.clear()
            stage.log.refusals = [Unavailable("away")] * (2 * TRIES + 1)
            await asyncio.sleep(60)
            kept = await stage.store.find("a")
            assert kept is not None
            assert (kept.erased, kept.done_at) == (5 + 7 + 1, NOW_MS)
            assert eraser.erased == 8
        assert all(isinstance(each, Tombstone) for each in (await stage.log.history(ROOM, None, 0, 9)).messages)

    virtually(scenario)


def test_erasures_of_several_users_go_side_by_side() -> None:
    """Two at a time; those of the same user, by two keys, one after the other, so that each message counts once."""

    async def scenario() -> None:
        stage = Stage()
        for user in ("alice", "bob", "carol"):
            await stage.write(5, user=user)
        async with stage.running() as eraser:
            users = (ALICE, BOB, UserId("carol"))
            several = [*(eraser.erase(user, None, ENOUGH_S, never) for user in users), erase(eraser, key="another")]
            results = await asyncio.gather(*several)
            assert sorted(each.erased for each in results) in ([0, 5, 5, 5], [5, 5, 5, 5])
            assert eraser.erased == 15
            assert all(each.done for each in results)

    virtually(scenario)


def test_a_fault_of_ours_is_tried_again_later() -> None:
    """The server goes on."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(5)
        stage.log.refusals = [ZeroDivisionError("a bug")]
        async with stage.running() as eraser:
            assert await erase(eraser, PAUSE_S - 1) == Progress(0, done=False)
            assert await erase(eraser, 3 * LOOK_S) == Progress(5, done=True)

    virtually(scenario)


def test_an_erasure_that_is_forgotten_is_over() -> None:
    """A request that has waited for it for a day, so to say."""

    async def scenario() -> None:
        stage = Stage()
        eraser = stage.eraser()
        asking = asyncio.create_task(erase(eraser))
        await turns(5)
        stage.store.forget()
        assert await asking == Progress(0, done=True)

    virtually(scenario)


def test_of_two_replicas_one_takes_the_work() -> None:
    """The other finds it taken."""

    async def scenario() -> None:
        stage = Stage()
        await stage.write(3)
        first = Erasure("a", ALICE, NOW_MS, NOW_MS)
        await stage.store.add(first)
        stage.store.overtaken = replace(first, leader=ReplicaId("two"))
        async with stage.running() as eraser:
            await turns(50)
            assert eraser.erased == 0
            await asyncio.sleep(LOOK_S + 1)
            assert eraser.erased == 3

    virtually(scenario)


def test_a_request_that_another_replica_overtakes_looks_again() -> None:
    """If something is noted between its look at the erasure under way and its own note."""

    async def scenario() -> None:
        stage = Stage()
        first = Erasure("a", ALICE, NOW_MS, NOW_MS)
        await stage.store.add(first)
        stage.store.overtaken = replace(first, leader=ReplicaId("dead"))
        stage.now_ms += 5
        assert await erase(stage.eraser(), 0.0) == Progress(0, done=False)
        (kept,) = await stage.store.all()
        assert (kept.asked_at, kept.leader) == (NOW_MS + 5, "dead")

    virtually(scenario)
