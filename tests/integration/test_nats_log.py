"""The message log in JetStream: several replicas, outages of the server, and an older or emptier storage."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from server.adapters.nats.deciding import Deciding, Tokens
from server.adapters.nats.link import Link
from server.adapters.nats.marks import NatsMarks
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.queueing import SPARE, WAITING_LIMIT
from server.adapters.nats.side import token
from server.adapters.nats.webhooks import NatsWebhooks
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Sender
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.events import MessageCreated, MessageErased, UnknownEvent
from server.domain.identity import UserId
from server.domain.messages import Tombstone
from tests.doubles.samples import NOW_MS, new_message, some_id
from tests.harness.nats import NatsProcess
from tests.harness.waiting import polled

DEADLINE_S = 20.0

ANSWERED_S = 3.0
"""2 s, on a busy machine."""

T = TypeVar("T")
_numbers = count(1)


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    """A NATS of the test's own."""
    async with NatsProcess(tmp_path / "nats") as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"nats:{next(_numbers)}")


@asynccontextmanager
async def replica(nats: NatsProcess, **how: Any) -> AsyncIterator[NatsMessageLog]:
    """The log of a replica."""
    how = {"max_events": 100_000, "max_age_ms": 10**13} | how
    async with Link(nats.url) as link, NatsMessageLog(link, **how) as log:
        yield log


async def kept(call: Callable[[], Awaitable[T]]) -> T:
    """The outcome of a call, which is repeated as clients do."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await call()
            except (Unavailable, Overloaded):
                await asyncio.sleep(0)


async def offsets(log: NatsMessageLog, channel: ChannelName) -> list[int]:
    """The offsets of all that the channel keeps."""
    return [event.offset for event in (await log.read(channel, 0, 100_000)).events]


async def test_replicas_write_a_channel_at_once(nats: NatsProcess, channel: ChannelName) -> None:
    """One order, dense, for all of them; a key is one message, whoever writes it first."""
    async with replica(nats) as one, replica(nats) as two, replica(nats) as three:
        logs = (one, two, three)

        async def write(log: NatsMessageLog, start: int) -> None:
            for number in range(start, start + 50):
                await log.append(new_message(number, channel, key=f"k{number % 100}"))

        await asyncio.gather(*(write(log, 1_000 + 100 * which) for which, log in enumerate(logs)))
        replays = [await log.read(channel, 0, 1_000) for log in logs]
        assert replays[0] == replays[1] == replays[2]
        events = replays[0].events
        assert [event.offset for event in events] == list(range(1, 51))
        assert len({event.message.key for event in events if isinstance(event, MessageCreated)}) == 50


async def test_a_kill_under_load_loses_nothing(nats: NatsProcess, channel: ChannelName) -> None:
    """What was answered is there after each restart, in one order, once; the clients repeat what was not."""
    answered: dict[str, int] = {}
    running = True
    async with replica(nats) as one, replica(nats) as two:

        async def client(log: NatsMessageLog, name: str) -> None:
            number = 0
            while running:
                number += 1
                draft = new_message(next(_numbers) + 10_000, channel, key=f"{name}-{number}", user=name)
                answered[f"{name}-{number}"] = (await kept(lambda: log.append(draft))).event.offset  # noqa: B023

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(client((one, two)[number % 2], f"user-{number}"))
            for _ in range(2):
                before = len(answered)
                await polled(lambda: len(answered) > before + 200, DEADLINE_S, lambda: "clients write")  # noqa: B023
                nats.kill()
                await nats.start()
            before = len(answered)
            await polled(lambda: len(answered) > before + 50, DEADLINE_S, lambda: "clients write again")
            running = False
        events = (await kept(lambda: two.read(channel, 0, 100_000))).events
        assert [event.offset for event in events] == list(range(1, len(events) + 1))
        found = {event.message.key: event.offset for event in events if isinstance(event, MessageCreated)}
        assert found == answered
        assert len(found) == len(events)


def stopped(pid: int) -> bool:
    """Whether all threads of a process have stopped."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


async def test_a_frozen_server_is_an_outage(nats: NatsProcess, channel: ChannelName) -> None:
    """Every call is refused within its deadline; the drafts of a sender keep their order; then all goes on."""
    async with replica(nats) as log:
        await log.append(new_message(1, channel))
        loop = asyncio.get_running_loop()
        nats.freeze()
        try:
            await polled(lambda: stopped(nats.pid), DEADLINE_S, lambda: "the signal has stopped it")
            began = loop.time()
            calls = [
                log.append(new_message(2, channel, key="k")),
                log.append(new_message(3, ChannelName(f"{channel}:new"))),
                log.read(channel, 0, 10),
                log.history(channel, None, None, 10),
                NatsMarks(log).mark(channel, UserId("bob"), 1),
                NatsWebhooks(log).debts("crm", None, 10),
            ]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * len(calls)
            assert loop.time() - began < ANSWERED_S
        finally:
            nats.thaw()
        again = await kept(lambda: log.append(new_message(4, channel, key="k")))
        assert again.event.offset == 2
        assert await kept(lambda: offsets(log, channel)) == [1, 2]


async def test_behind_an_outage_a_sender_waits(nats: NatsProcess, channel: ChannelName) -> None:
    """Once a draft is refused, those behind it are, too, and nothing of them is written."""
    async with replica(nats) as log:
        await log.append(new_message(1, channel))
        sender, outcomes = Sender(), list[Appended | Exception]()
        nats.kill()
        for number in (2, 3):
            log.submit(new_message(number, channel), sender, outcomes.append)
        await polled(lambda: len(outcomes) == 2, DEADLINE_S, lambda: f"refusals, got {outcomes}")
        await nats.start()
        assert await kept(lambda: offsets(log, channel)) == [1]
        log.submit(new_message(4, channel), sender, outcomes.append)
        assert [isinstance(outcome, MaruError) and outcome.retryable for outcome in outcomes] == [True] * 3


async def test_only_so_many_drafts_wait(nats: NatsProcess, channel: ChannelName) -> None:
    """Over the bound a draft is refused, and clients are asked to wait before."""
    async with replica(nats) as log:
        outcomes: list[Appended | Exception] = []
        for number in range(WAITING_LIMIT):
            log.submit(new_message(number, channel), Sender(), outcomes.append)
        assert not_roomy(log)
        with pytest.raises(Overloaded):
            await log.append(new_message(99_999, channel))
        nats.kill()
        await polled(lambda: len(outcomes) == WAITING_LIMIT, DEADLINE_S, lambda: f"all told, got {len(outcomes)}")
        assert not not_roomy(log)
        await nats.start()


def not_roomy(log: NatsMessageLog) -> bool:
    """Whether clients should wait."""
    return log.crowded


def texts_in(folder: Path, text: bytes) -> list[Path]:
    """The files below the folder that hold the text."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_a_deleted_text_leaves_the_storage(nats: NatsProcess, channel: ChannelName) -> None:
    """By the time at which the deletion is answered."""
    secret = "the-text-that-must-go"
    async with replica(nats) as log:
        for number in (1, 2, 3):
            await log.append(new_message(number, channel, text=secret if number == 2 else None, key=f"k{number}"))
        assert texts_in(nats.folder, secret.encode())
        await log.append(Deletion(channel, some_id(2), NOW_MS))
        assert not texts_in(nats.folder, secret.encode())
    async with replica(nats) as log:
        assert [type(event) for event in (await log.read(channel, 0, 3)).events] == [
            MessageCreated,
            MessageErased,
            MessageCreated,
        ]
        assert (await log.append(new_message(4, channel, key="k2"))).duplicate


async def test_an_erasing_that_was_cut_off_is_finished(nats: NatsProcess, channel: ChannelName) -> None:
    """By the next replica that reads the channel."""
    secret = "the-text-that-must-go"
    async with Link(nats.url) as link:
        log = NatsMessageLog(link, max_events=100, max_age_ms=10**13)  # is not closed, as after a kill
        await log.append(new_message(1, channel, text=secret))
        journal = log.journal(channel)
        fold = await log.fold(channel)
        _, entry = Deciding(fold, None, NOW_MS, Tokens("cut")).decide(Deletion(channel, some_id(1), NOW_MS))
        assert entry is not None
        async with journal.lock:
            assert (await journal.append([entry])).written == 1
    assert texts_in(nats.folder, secret.encode())
    async with replica(nats) as log:
        assert isinstance(await log.message(channel, some_id(1)), Tombstone)
        assert not texts_in(nats.folder, secret.encode())


async def test_a_stream_holds_little_more_than_its_channel(nats: NatsProcess, channel: ChannelName) -> None:
    """Dropped events go in steps; keys and marks of their authors outlive them, and the head does."""
    async with replica(nats, max_events=10) as log:
        for number in range(200):
            await log.append(new_message(number, channel, key=f"k{number}", user=f"user-{number}"))
        stream = log.journal(channel).stream
        async with log.streams.link.asking() as context:
            assert (await context.stream_info(stream)).state.messages <= 10 + SPARE + 2
    async with replica(nats, max_events=10) as log:
        assert await offsets(log, channel) == []
        replay = await log.read(channel, 190, 100)
        assert (replay.floor, replay.head.offset, len(replay.events)) == (190, 200, 10)
        assert (await log.append(new_message(999, channel, key="k7", user="user-7"))).event.offset == 8
        marks = await NatsMarks(log).marks(UserId("user-7"), [channel])
        assert (marks[channel].offset, marks[channel].unread) == (8, 10)
    async with replica(nats, max_events=10, max_age_ms=1, now_ms=lambda: 10**13) as log:
        assert (await log.read(channel, 0, 0)).floor == 200
    async with replica(nats) as log:
        assert (await log.read(channel, 0, 0)).head.offset == 200
        assert (await log.append(new_message(1_000, channel))).event.offset == 201


async def test_old_events_leave_streams_that_nobody_uses(nats: NatsProcess, channel: ChannelName) -> None:
    """A process that has never seen the channel takes them out; its head stays."""
    async with replica(nats) as log:
        for number in (1, 2, 3):
            await log.append(new_message(number, channel, text="an-old-text"))
    assert texts_in(nats.folder, b"an-old-text")
    async with replica(nats, max_age_ms=1, now_ms=lambda: 10**13) as log:
        working = asyncio.create_task(log.run())
        try:
            await polled(lambda: not texts_in(nats.folder, b"an-old-text"), DEADLINE_S, lambda: "the text is gone")
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        assert (await log.append(new_message(4, channel))).event.offset == 4


async def older(nats: NatsProcess, copy: Path, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """Let the server's storage come back as it was before something was done."""
    nats.kill()
    shutil.copytree(nats.folder / "streams", copy)
    await nats.start()
    await meanwhile()
    nats.kill()
    shutil.rmtree(nats.folder / "streams")
    shutil.copytree(copy, nats.folder / "streams")
    await nats.start()


@pytest.mark.parametrize("written", [0, 1, 2], ids=["fewer", "as many", "more"])
async def test_11_an_older_storage_is_another_epoch(
    nats: NatsProcess, channel: ChannelName, tmp_path: Path, written: int
) -> None:
    """If it lacks an event that was seen, or has another in its place; marks stay, and other replicas agree."""
    async with replica(nats) as log, replica(nats) as other:
        await log.append(new_message(1, channel))
        await NatsMarks(log).mark(channel, UserId("bob"), 1)

        async def append() -> None:
            log.note((await kept(lambda: log.append(new_message(2, channel, key="lost")))).event)

        before = (await log.read(channel, 0, 0)).head
        await older(nats, tmp_path / "copy", append)
        for number in range(written):
            await kept(lambda: other.append(new_message(10 + number, channel, key=f"new-{number}")))  # noqa: B023
        after = (await kept(lambda: log.read(channel, 0, 0))).head
        assert (after.epoch != before.epoch, after.offset) == (True, 1 + written)
        assert (await kept(lambda: other.read(channel, 0, 0))).head == after
        mark = (await NatsMarks(other).marks(UserId("bob"), [channel]))[channel]
        assert (mark.offset, mark.unread) == (1, written)
        assert (await log.append(new_message(3, channel))).event.offset == 2 + written


async def test_11_a_storage_that_lacks_the_event_of_another_replica(
    nats: NatsProcess, channel: ChannelName, tmp_path: Path
) -> None:
    """It was told of that event by a hint."""
    async with replica(nats) as log, replica(nats) as other:
        await log.append(new_message(1, channel))
        before = (await log.read(channel, 0, 0)).head

        async def append() -> None:
            log.note((await kept(lambda: other.append(new_message(2, channel)))).event)

        await older(nats, tmp_path / "copy", append)
        after = (await kept(lambda: log.read(channel, 0, 0))).head
        assert (after.epoch != before.epoch, after.offset) == (True, 1)


async def test_an_entry_that_somebody_removed_has_its_place(nats: NatsProcess, channel: ChannelName) -> None:
    """It is of an unknown kind; the others stay readable."""
    async with replica(nats) as log:
        for number in (1, 2, 3):
            await log.append(new_message(number, channel))
        await log.streams.erase(log.journal(channel).stream, 2)
    async with replica(nats) as log:
        events = (await log.read(channel, 0, 10)).events
        assert [type(event) for event in events] == [MessageCreated, UnknownEvent, MessageCreated]


async def test_a_damaged_entry_is_an_outage_of_its_channel(nats: NatsProcess, channel: ChannelName) -> None:
    """Others can be used."""
    async with replica(nats) as log:
        await log.append(new_message(1, channel))
        await log.append(new_message(1, ChannelName(f"{channel}:other")))
        assert await log.streams.put(f"maru.log.{token(channel)}", b"damaged")
    async with replica(nats) as log:
        with pytest.raises(Unavailable):
            await log.read(channel, 0, 10)
        with pytest.raises(Unavailable):
            await log.append(new_message(2, channel))
        assert await offsets(log, ChannelName(f"{channel}:other")) == [1]


async def test_the_servers_time_counts(nats: NatsProcess) -> None:
    """It is measured, not taken from this machine's wall clock."""
    async with replica(nats) as log:
        log.clock.learn(log.clock.began(), 5_000_000)
        assert 5_000_000 <= log.now_ms() < 5_060_000
        working = asyncio.create_task(log.run())
        try:
            await polled(lambda: log.now_ms() > 10**12, DEADLINE_S, lambda: "the time is measured")
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
