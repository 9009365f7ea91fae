"""Promise 13 of the message log, held by every adapter: a channel takes no more events than its rate allows."""

import asyncio

import pytest

from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Revision, Sender
from server.domain.errors import Conflict, MaruError, RateLimited
from server.domain.gcra import Rate
from server.ports.message_log import MessageLog
from tests.contracts.conftest import LogStore
from tests.doubles.samples import NOW_MS, new_message, some_id
from tests.harness.waiting import polled

RATE = Rate(4.0, 3)

DEADLINE_S = 5.0


def edit(number: int, channel: ChannelName) -> Revision:
    """The edit of the message with this number."""
    return Revision(channel, some_id(number), "edited", data=None, keep_data=True, at=NOW_MS)


def deletion(number: int, channel: ChannelName) -> Deletion:
    """The deletion of the message with this number."""
    return Deletion(channel, some_id(number), at=NOW_MS)


async def limited(log: MessageLog, draft: NewMessage | Revision | Deletion) -> int:
    """Assert that the log refuses the draft for now; return for how long, in ms."""
    with pytest.raises(RateLimited) as refused:
        await log.append(draft)
    assert refused.value.details == {"limit": "channel"}
    assert refused.value.retry_after_ms is not None
    return refused.value.retry_after_ms


async def told(outcomes: list[Appended | Exception], count: int) -> None:
    """Wait until so many outcomes are there."""
    await polled(lambda: len(outcomes) == count, DEADLINE_S, lambda: f"{count} outcomes, got {outcomes}", every_s=0.001)


async def test_13_a_burst_then_the_pace(store: LogStore, channel: ChannelName) -> None:
    """Of every kind of change; a refused draft passes after the wait that it is told, and not 11 ms before."""
    async with store.open(rate=RATE) as log:
        for draft in (new_message(1, channel), edit(1, channel), deletion(1, channel)):
            await log.append(draft)
        assert await limited(log, new_message(2, channel)) in (250, 251)
        other = ChannelName(f"{channel}:other")
        assert (await log.append(new_message(3, other))).event.offset == 1
        store.clock.now += 240
        assert await limited(log, new_message(2, channel)) in (10, 11)
        store.clock.now += 11
        assert (await log.append(new_message(2, channel))).event.offset == 4
        assert await limited(log, edit(2, channel)) <= 251
        assert await limited(log, deletion(2, channel)) <= 251
        store.clock.now += 251
        assert (await log.append(edit(2, channel))).event.offset == 5
        store.clock.now += 60_000
        written = [await log.append(new_message(number, channel)) for number in (4, 5, 6)]
        assert [each.event.offset for each in written] == [6, 7, 8]
        await limited(log, new_message(7, channel))


async def test_13_the_first_of_a_burst_are_written(store: LogStore, channel: ChannelName) -> None:
    """Drafts that are written together are counted one by one: nothing behind a refused one is written."""
    async with store.open(rate=RATE) as log:
        outcomes = await asyncio.gather(
            *(log.append(new_message(number, channel)) for number in range(1, 13)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [Appended] * 3 + [RateLimited] * 9
        assert (await log.read(channel, 0, 100)).head.offset == 3


async def test_13_a_draft_that_becomes_no_event_takes_nothing(store: LogStore, channel: ChannelName) -> None:
    """A repeated send or deletion is told of the first, and a change that is refused is refused for its own reason,
    however often and whether the rate allows an event or not."""
    async with store.open(rate=RATE) as log:
        for draft in (new_message(1, channel, key="k"), new_message(2, channel), deletion(2, channel)):
            await log.append(draft)
        for _ in range(5):
            repeated = await log.append(new_message(3, channel, key="k"))
            assert (repeated.event.offset, repeated.duplicate) == (1, True)
            assert (await log.append(deletion(2, channel))).duplicate
            with pytest.raises(Conflict):
                await log.append(edit(2, channel))
        store.clock.now += 251
        assert (await log.append(new_message(4, channel))).event.offset == 4


async def test_13_repeats_among_new_ones(store: LogStore, channel: ChannelName) -> None:
    """In one batch: a key's first draft is counted, its repeats are not."""
    async with store.open(rate=RATE) as log:
        drafts = [new_message(number, channel, key="k" if number < 8 else None) for number in range(1, 12)]
        outcomes = await asyncio.gather(*map(log.append, drafts), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Appended] * 9 + [RateLimited] * 2
        assert (await log.read(channel, 0, 100)).head.offset == 3


async def test_13_behind_a_refusal_a_sender_waits(store: LogStore, channel: ChannelName) -> None:
    """Its later drafts for the channel are refused, too, so that it can repeat all of them in their order."""
    async with store.open(rate=RATE) as log:
        sender, outcomes = Sender(), list[Appended | Exception]()
        for number in range(1, 7):
            log.submit(new_message(number, channel), sender, outcomes.append)
        await told(outcomes, 6)
        assert [isinstance(outcome, Appended) for outcome in outcomes] == [True] * 3 + [False] * 3
        assert isinstance(outcomes[3], RateLimited)
        assert all(isinstance(outcome, MaruError) and outcome.retryable for outcome in outcomes[3:])
        store.clock.now += 60_000
        log.submit(new_message(7, channel), Sender(), outcomes.append)
        await told(outcomes, 7)
        assert isinstance(outcomes[6], Appended)


async def test_13_without_a_rate(log: MessageLog, channel: ChannelName) -> None:
    """Nothing is refused."""
    await asyncio.gather(*(log.append(new_message(number, channel)) for number in range(1, 1_001)))


async def test_13_a_clock_that_is_set_back(store: LogStore, channel: ChannelName) -> None:
    """A wall clock that goes back by a day refuses a channel's events for no longer than its bucket takes to fill."""
    async with store.open(rate=RATE) as log:
        for number in (1, 2, 3):
            await log.append(new_message(number, channel))
        if type(log).__name__ == "RedisMessageLog":  # the other clocks are monotonic
            store.clock.now -= 86_400_000
        assert await limited(log, new_message(4, channel)) <= 251
        store.clock.now += 251
        await log.append(new_message(4, channel))
