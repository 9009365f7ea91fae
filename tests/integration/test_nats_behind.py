"""A replica of the log in JetStream that is behind: what the others erased, dropped or lost meanwhile."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.adapters.nats.acks import Refused
from server.adapters.nats.deciding import Deciding, Tokens
from server.adapters.nats.marks import NatsMarks
from server.adapters.nats.side import token
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.events import MessageErased
from server.domain.identity import UserId
from server.domain.messages import Tombstone
from tests.doubles.samples import NOW_MS, new_message, some_id
from tests.harness.nats import NatsProcess
from tests.integration.test_nats_log import kept, replica, texts_in

CHANNEL = ChannelName("behind")


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    """A NATS of the test's own."""
    async with NatsProcess(tmp_path / "nats") as process:
        yield process


async def test_a_key_outlives_its_message_for_a_replica_behind(nats: NatsProcess) -> None:
    """The message was written and deleted elsewhere, and its entry is gone: a repeat is still that message."""
    async with replica(nats) as log, replica(nats) as behind:
        await log.append(new_message(1, CHANNEL))
        assert (await behind.read(CHANNEL, 0, 10)).head.offset == 1
        first = await log.append(new_message(2, CHANNEL, key="k"))
        await log.append(Deletion(CHANNEL, some_id(2), NOW_MS))
        again = await behind.append(new_message(3, CHANNEL, key="k"))
        assert (again.duplicate, again.event.offset) == (True, first.event.offset)
        assert isinstance(again.event, MessageErased)


async def test_a_key_outlives_retention_for_a_replica_behind(nats: NatsProcess) -> None:
    """The entries were dropped elsewhere before this replica saw them."""
    async with replica(nats, max_events=10) as log, replica(nats, max_events=10) as behind:
        await log.append(new_message(1, CHANNEL))
        assert (await behind.read(CHANNEL, 0, 10)).head.offset == 1
        for number in range(2, 202):
            await log.append(new_message(number, CHANNEL, key=f"k{number}"))
        again = await behind.append(new_message(999, CHANNEL, key="k7"))
        assert (again.duplicate, again.event.offset) == (True, 7)
        assert await behind.read(CHANNEL, 191, 20) == await log.read(CHANNEL, 191, 20)


async def test_any_replica_finishes_an_erasing_that_was_cut_off(nats: NatsProcess) -> None:
    """Also one that had read the channel before."""
    secret = "the-text-that-must-go"
    async with replica(nats) as log, replica(nats) as behind:
        await log.append(new_message(1, CHANNEL, text=secret))
        assert (await behind.read(CHANNEL, 0, 10)).head.offset == 1
        journal, fold = log.journal(CHANNEL), await log.fold(CHANNEL)
        _, entry = Deciding(fold, None, NOW_MS, Tokens("cut")).decide(Deletion(CHANNEL, some_id(1), NOW_MS))
        assert entry is not None
        async with journal.lock:
            assert (await journal.append([entry])).written == 1
        assert isinstance(await behind.message(CHANNEL, some_id(1)), Tombstone)
        assert texts_in(nats.folder, secret.encode())
        await behind.tend()
        assert not texts_in(nats.folder, secret.encode())
        assert not (await behind.fold(CHANNEL)).texts


@pytest.mark.parametrize("lost", ["purged", "removed", "made anew"])
async def test_11_a_channel_whose_entries_are_lost_begins_again(nats: NatsProcess, lost: str) -> None:
    """In another epoch, for all replicas, without its marks."""
    async with replica(nats) as log, replica(nats) as other:
        for number in (1, 2, 3):
            await log.append(new_message(number, CHANNEL))
        await NatsMarks(log).mark(CHANNEL, UserId("bob"), 2)
        before = (await other.read(CHANNEL, 0, 0)).head
        stream = log.journal(CHANNEL).stream
        if lost == "purged":
            await log.streams.purge(stream, 0)
        else:
            await log.streams.delete(stream)
        if lost == "made anew":
            await log.streams.create(stream, f"maru.log.{stream.rpartition('-')[2]}", CHANNEL)
        await kept(lambda: other.read(CHANNEL, 0, 0))
        one = await kept(lambda: other.append(new_message(4, CHANNEL)))
        assert (one.event.epoch != before.epoch, one.event.offset) == (True, 1)
        two = await kept(lambda: log.append(new_message(5, CHANNEL)))
        assert (two.event.epoch, two.event.offset) == (one.event.epoch, 2)
        assert await log.read(CHANNEL, 0, 10) == await other.read(CHANNEL, 0, 10)
        for each in (log, other):
            assert (await NatsMarks(each).marks(UserId("bob"), [CHANNEL]))[CHANNEL].offset == 0


async def test_a_channel_that_another_replica_begins_again_at_this_moment(nats: NatsProcess) -> None:
    """Its stream is there, and empty: the list of channels tells that its epoch is another."""
    async with replica(nats) as log, replica(nats) as other:
        await log.append(new_message(1, CHANNEL))
        before = (await other.read(CHANNEL, 0, 0)).head
        stream = log.journal(CHANNEL).stream
        await log.streams.delete(stream)
        await log.side.made(CHANNEL, 1)
        await log.streams.create(stream, f"maru.log.{stream.rpartition('-')[2]}", CHANNEL)
        written = (await other.append(new_message(2, CHANNEL))).event
        assert (written.epoch != before.epoch, written.offset) == (True, 1)
        assert (await log.read(CHANNEL, 0, 0)).head == (await other.read(CHANNEL, 0, 0)).head


async def test_no_place_is_taken_for_missing_while_others_delete(nats: NatsProcess) -> None:
    """A replica that reads while messages are written and deleted at once has the same channel as the writer."""
    async with replica(nats) as log, replica(nats) as reader:
        await log.append(new_message(0, CHANNEL))
        done = False

        async def read() -> None:
            while not done:
                await kept(lambda: reader.read(CHANNEL, 0, 1_000))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            for number in range(1, 200):
                await log.append(new_message(number, CHANNEL, key=f"k{number}"))
                await log.append(Deletion(CHANNEL, some_id(number), NOW_MS))
            done = True
        assert await reader.read(CHANNEL, 0, 1_000) == await log.read(CHANNEL, 0, 1_000)
        assert (await reader.append(new_message(999, CHANNEL, key="k7"))).duplicate


async def test_a_refusal_that_nobody_waits_for_is_no_error(nats: NatsProcess) -> None:
    """Whoever gave up an append has told its caller: the loop has nothing to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with replica(nats) as log:
        await log.append(new_message(1, CHANNEL))
        stale = {"Nats-Expected-Last-Sequence": "7"}
        subject = f"maru.log.{token(CHANNEL)}"
        await log.streams.publish(subject, b"given up", stale)
        with pytest.raises(Refused):
            await (await log.streams.publish(subject, b"waited for", stale))
        gc.collect()
    assert not complaints
