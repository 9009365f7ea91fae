"""Healing: events whose hints were lost, and what members are told if the log is another one than before."""

import asyncio
import copy
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.healing import COMPARE_S, REPAIRS, RETRY_S
from server.application.channels.hosting import LINGER_S
from server.application.channels.repair import GAP_S, READS_PER_REPAIR
from server.domain.appending import created
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Revision
from server.domain.errors import Overloaded, Unavailable
from server.domain.events import MessageCreated
from server.domain.identity import SessionId
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker
from tests.doubles.faulty_log import FaultyLog, Gate, at_once
from tests.doubles.hub_stage import ALICE, BOB, FOREIGN, HubStage, offsets
from tests.doubles.newer_version import write_in_memory
from tests.doubles.replica import replica
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message
from tests.doubles.virtual_time import turns


async def test_healing_outlives_an_outage_of_the_log(stage: HubStage) -> None:
    """While the log is away the hub asks again every `RETRY_S`, and afterwards delivers what was missing."""
    inbox = await stage.member()
    written = await stage.write(3)
    stage.log.error = Unavailable("away")
    reads = stage.log.reads
    stage.hint(written[2])
    await asyncio.sleep(RETRY_S * 4 + RETRY_S / 2)
    assert stage.log.reads == reads + 5
    assert inbox == []
    stage.log.error = None
    await stage.until(inbox, 3)
    assert inbox == written


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(stage: HubStage) -> None:
    """However many channels wait and however often they try, the log has one line for each change."""
    await stage.member()
    await stage.member(BOB, FOREIGN)
    with capture_logs() as lines:
        stage.log.error = Unavailable("away")
        stage.hint(LinkRestored())
        await asyncio.sleep(RETRY_S * 10)
        stage.log.error = None
        await asyncio.sleep(RETRY_S * 10)
    assert [(line["event"], line["code"]) for line in lines] == [
        ("healing.halted", "unavailable"),
        ("healing.resumed", None),
    ]


async def test_a_hint_that_was_lost_silently_is_found(stage: HubStage) -> None:
    """Where neither a later hint nor the link tells of it, a comparison with the log does, within `COMPARE_S`, and
    after `GAP_S` for a hint that is only late."""
    inbox = await stage.member()
    comparing = asyncio.create_task(stage.replica.hub.compare())
    await turns(20)
    reads = stage.log.reads
    written = await stage.write(2)
    await asyncio.sleep(COMPARE_S + GAP_S + 0.01)
    assert inbox == written
    await asyncio.sleep(COMPARE_S * 9)
    assert stage.log.reads == reads + 10
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_a_comparison_leaves_out_what_was_let_go(stage: HubStage) -> None:
    """A channel that is let go is not asked for, however far its round is; the others are, each once a round."""
    await stage.member()
    await stage.replica.hub.host(FOREIGN)
    await asyncio.sleep(LINGER_S)
    comparing = asyncio.create_task(stage.replica.hub.compare())
    await turns(20)
    await stage.replica.hub.release_empty()
    reads = stage.log.reads
    await asyncio.sleep(COMPARE_S + 0.01)
    assert (stage.log.reads - reads, comparing.done()) == (1, False)
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_so_many_channels_heal_at_once(stage: HubStage) -> None:
    """At most `REPAIRS` healing reads are under way; the other channels wait for their turn, and all get it."""
    channels = [ChannelName(f"room:{number}") for number in range(REPAIRS + 10)]
    inboxes = [await stage.member(SessionId(channel), channel) for channel in channels]
    for channel in channels:
        await stage.write(1, channel)
    gate = stage.log.after = Gate()
    reads = stage.log.reads
    stage.hint(LinkRestored())
    await gate.reached.wait()
    await turns(100)
    assert stage.log.reads == reads + REPAIRS
    gate.open()
    for inbox in inboxes:
        await stage.until(inbox, 1)
    assert [offsets(inbox) for inbox in inboxes] == [[1]] * len(channels)


async def test_all_that_may_be_replayed_is_healed(stage: HubStage) -> None:
    """A channel that is `REPLAY_LIMIT` events behind is healed whole and in order."""
    inbox = await stage.member()
    written = await stage.write(REPLAY_LIMIT)
    stage.hint(LinkRestored())
    await stage.until(inbox, len(written))
    assert inbox == written


async def test_a_channel_that_is_too_far_behind_goes_on_from_the_head(stage: HubStage) -> None:
    """Members are told once that they are too far behind, in place of a flood, and get what is written from there."""
    inbox = await stage.member()
    await stage.write(REPLAY_LIMIT + 1)
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    await restarted(stage, inbox, NotResumable.TOO_FAR_BEHIND, REPLAY_LIMIT + 1)


async def test_a_link_that_breaks_during_each_read_is_healed_in_turns(stage: HubStage) -> None:
    """Each time the channel is read once more, and after `READS_PER_REPAIR` reads others get their turn."""
    inbox = await stage.member()
    written = await stage.write(1)

    async def flap() -> None:
        if len(written) < READS_PER_REPAIR * 3:
            written.extend(await stage.write(1, first=100 + len(written)))
            stage.hint(LinkRestored())
            await turns(5)

    stage.log.after = flap
    stage.hint(LinkRestored())
    await stage.until(inbox, READS_PER_REPAIR * 3)
    assert inbox == written


async def test_two_healings_of_one_channel_repeat_nothing(stage: HubStage) -> None:
    """Hints that arrive while the log is read start a second reading; each event is still delivered once."""
    inbox = await stage.member()
    written = await stage.write(5)
    gate = stage.log.after = Gate()
    stage.hint(written[2])
    await gate.reached.wait()
    stage.hint(written[4], written[0], written[1])
    await turns(10)
    gate.open()
    await stage.until(inbox, 5)
    assert inbox == written


async def test_a_refresh_brings_what_the_log_has(stage: HubStage) -> None:
    """`refresh` delivers what is missing before it returns."""
    inbox = await stage.member()
    hosted = await stage.replica.hub.host(ROOM)
    written = await stage.write(REPLAY_LIMIT)
    await stage.replica.hub.refresh(hosted)
    assert inbox == written


async def test_a_refresh_that_would_take_too_long_says_so(stage: HubStage) -> None:
    """A channel that comes to no rest within the reads of `refresh` is overloaded now, and is healed beside that."""
    inbox = await stage.member()
    hosted = await stage.replica.hub.host(ROOM)
    written = await stage.write(1)

    async def flap() -> None:
        written.extend(await stage.write(1, first=100 + len(written)))
        stage.hint(LinkRestored())
        await asyncio.sleep(0.001)

    stage.log.after = flap
    with pytest.raises(Overloaded, match="'room:1'"):
        await stage.replica.hub.refresh(hosted)
    stage.log.after = at_once
    await stage.until(inbox, len(written))
    assert inbox == written


async def test_a_refresh_that_is_given_up_is_done_all_the_same(stage: HubStage) -> None:
    """Its caller may have found that events are missing: they are delivered although the caller does not wait."""
    inbox = await stage.member()
    written = await stage.write(3)
    gate = stage.log.after = Gate()
    refreshing = asyncio.create_task(stage.replica.hub.refresh(await stage.replica.hub.host(ROOM)))
    await gate.reached.wait()
    stage.log.after = at_once
    refreshing.cancel()
    await stage.until(inbox, 3)
    assert inbox == written


async def test_a_healing_of_a_channel_that_was_let_go_delivers_nothing(stage: HubStage) -> None:
    """A channel that is hosted anew is not given events again by the healing of its former life."""
    await stage.member()
    stage.log.error = Unavailable("away")
    written = await stage.write(2)
    stage.hint(LinkRestored())
    stage.replica.transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S)
    await stage.replica.hub.release_empty()
    stage.log.error = None
    inbox = await stage.member(BOB)
    await asyncio.sleep(RETRY_S * 2)
    assert inbox == []
    written += await stage.write(1, first=3)
    stage.hint(written[2])
    await stage.until(inbox, 1)
    assert offsets(inbox) == [3]


async def test_a_channel_that_was_let_go_is_not_asked_for_any_longer(stage: HubStage) -> None:
    """The retries of a healing end with the channel: the log is not read for what nobody here waits for."""
    await stage.replica.hub.host(ROOM)
    stage.log.error = Unavailable("away")
    stage.hint(LinkRestored())
    await asyncio.sleep(LINGER_S)
    await stage.replica.hub.release_empty()
    reads = stage.log.reads
    await asyncio.sleep(RETRY_S * 10)
    assert stage.log.reads == reads


async def test_a_healing_that_is_under_way_when_its_channel_goes_is_dropped(stage: HubStage) -> None:
    """The answer to a read of a channel that was let go, and is hosted anew by then, is delivered to nobody."""
    await stage.member()
    await stage.write(2)
    gate = stage.log.after = Gate()
    stage.hint(LinkRestored())
    await gate.reached.wait()
    stage.log.after = at_once
    stage.replica.transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S)
    await stage.replica.hub.release_empty()
    inbox = await stage.member(BOB)
    gate.open()
    await turns(50)
    assert inbox == []
    stage.hint(*(await stage.write(1, first=3)))
    await stage.until(inbox, 1)
    assert offsets(inbox) == [3]


# Another log than before


async def restarted(stage: HubStage, inbox: list[object], reason: NotResumable, head: int) -> None:
    """Check that the member was told of a new position, once, and that it gets what is written from there on."""
    position = (await stage.log.inner.read(ROOM, 0, 0)).head
    assert position.offset == head
    assert inbox == [ChannelResumed(ROOM, position, reason, ())]
    stage.hint(*(await stage.write(2, first=50_000)))
    await stage.until(inbox, 3)
    assert offsets(inbox) == [head + 1, head + 2]


async def test_a_lost_log_is_told_to_the_members(stage: HubStage) -> None:
    """The first hint of the new epoch makes the hub ask the log; members get the new epoch's head, then its events."""
    await stage.write(5)
    inbox = await stage.member()
    inner = stage.log.inner
    assert isinstance(inner, MemoryMessageLog)
    inner.forget(ROOM)
    stage.hint(*(await stage.write(2, first=10)))
    await stage.until(inbox, 1)
    await restarted(stage, inbox, NotResumable.EPOCH_CHANGED, 2)


async def test_a_log_that_comes_back_older_is_told_to_the_members(stage: HubStage) -> None:
    """A head below the position means that events which were delivered are gone: members start over from the head."""
    await stage.write(3)
    older = copy.deepcopy(stage.log.inner)
    await stage.write(2, first=4)
    inbox = await stage.member()
    stage.log.inner = older
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    await restarted(stage, inbox, NotResumable.AHEAD_OF_LOG, 3)


async def test_what_was_dropped_before_it_was_seen_is_told_to_the_members(stage: HubStage) -> None:
    """Where retention has passed the position by, no part of the slice is given: members start over from the head."""
    stage.log.inner = MemoryMessageLog(max_events=10, max_age_ms=HOUR_MS)
    await stage.write(3)
    inbox = await stage.member()
    await stage.write(20, first=4)
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    await restarted(stage, inbox, NotResumable.EXPIRED, 23)


async def test_hints_of_a_former_epoch_change_nothing(stage: HubStage) -> None:
    """A late hint of the lost log makes the hub ask the log, which knows better; members see nothing of it."""
    old = await stage.write(3)
    inner = stage.log.inner
    assert isinstance(inner, MemoryMessageLog)
    inner.forget(ROOM)
    inbox = await stage.member()
    stage.hint(old[2])
    written = await stage.write(1, first=9)
    stage.hint(written[0], old[0])
    await stage.until(inbox, 1)
    assert inbox == written


async def test_a_late_answer_of_a_former_epoch_does_not_bring_it_back(stage: HubStage) -> None:
    """An answer that was under way while the log was lost and the hub moved on is read anew, not believed."""
    old = await stage.write(2)
    inbox = await stage.member()
    inner = stage.log.inner
    assert isinstance(inner, MemoryMessageLog)
    late = stage.log.after = Gate()
    stage.hint(LinkRestored())
    await late.reached.wait()
    stage.log.after = at_once
    inner.forget(ROOM)
    written = await stage.write(3, first=9)
    stage.hint(written[0])
    await stage.until(inbox, 1)
    late.open()
    await turns(50)
    position = Position(written[0].epoch, 3)
    assert position.epoch != old[0].epoch
    assert inbox == [ChannelResumed(ROOM, position, NotResumable.EPOCH_CHANGED, ())]
    assert (await stage.replica.hub.host(ROOM)).position == position


async def test_a_late_answer_of_an_older_log_restarts_once(stage: HubStage) -> None:
    """Two reads that both find the log older tell the members once, and take back nothing that came since."""
    await stage.write(3)
    older = copy.deepcopy(stage.log.inner)
    await stage.write(2, first=4)
    inbox = await stage.member()
    stage.log.inner = older
    late = stage.log.after = Gate()
    stage.hint(LinkRestored())
    await late.reached.wait()
    stage.log.after = at_once
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    written = await stage.write(1, first=9)
    stage.hint(written[0])
    await stage.until(inbox, 2)
    late.open()
    await turns(50)
    assert inbox == [ChannelResumed(ROOM, Position(written[0].epoch, 3), NotResumable.AHEAD_OF_LOG, ()), written[0]]


@pytest.mark.parametrize("live", [True, False])
async def test_another_history_at_the_position_is_told_to_the_members(stage: HubStage, live: bool) -> None:
    """A log that came back older, and has been written to since, has other events at the same offsets. The next hint
    seems to follow; it is held until the event at the position has been compared with the event that was delivered
    there or, if none was, that a comparison found there."""
    written = await stage.write(3)
    older = copy.deepcopy(stage.log.inner)
    if live:
        inbox = await stage.member()
        written += await stage.write(2, first=4)
        stage.hint(*written[3:])
        await stage.until(inbox, 2)
        inbox.clear()
    else:
        await stage.write(2, first=4)
        inbox = await stage.member()
        comparing = asyncio.create_task(stage.replica.hub.compare())
        await asyncio.sleep(COMPARE_S)
        comparing.cancel()
        await asyncio.wait([comparing])
    stage.log.inner = older
    others = await stage.write(3, first=100)
    stage.hint(LinkRestored(), others[2])
    await stage.until(inbox, 1)
    await restarted(stage, inbox, NotResumable.AHEAD_OF_LOG, 6)


@pytest.mark.parametrize("last", ["created", "edited", "deleted", "unknown", "none"])
async def test_the_same_history_is_continued(stage: HubStage, last: str) -> None:
    """If the event at the position is the one that was delivered, whatever its kind, members notice nothing."""
    inner = stage.log.inner
    assert isinstance(inner, MemoryMessageLog)
    if last != "none":
        [created] = await stage.write(1)
        assert isinstance(created, MessageCreated)
        id = created.message.id
        if last == "edited":
            await inner.append(Revision(ROOM, id, "better", None, True, NOW_MS))
        elif last == "deleted":
            await inner.append(Deletion(ROOM, id, NOW_MS))
        elif last == "unknown":
            write_in_memory(inner, ROOM, NOW_MS)
    inbox = await stage.member()
    written = await stage.write(2, first=10)
    stage.hint(LinkRestored(), written[0], LinkRestored(), written[1])
    await stage.until(inbox, 2)
    assert inbox == written
    hosted = await stage.replica.hub.host(ROOM)
    assert (hosted.doubts, hosted.sequencer.has_gap) == (0, False)


@pytest.mark.parametrize("known", [0, 3])
async def test_a_comparison_finds_an_event_that_hid_another(stage: HubStage, known: int) -> None:
    """A hint that was believed and is of no log stands where the log's event should: members are told to read anew, and
    the log's event is given to whoever joins."""
    await stage.write(known)
    inbox = await stage.member()
    comparing = asyncio.create_task(stage.replica.hub.compare())
    await asyncio.sleep(COMPARE_S + 1.0)
    epoch = (await stage.log.inner.read(ROOM, 0, 0)).head.epoch
    forged = created(new_message(66), Position(epoch, known + 1))
    stage.hint(forged)
    await stage.until(inbox, 1)
    assert inbox == [forged]
    [true] = await stage.write(1, first=known + 1)
    stage.hint(true)
    await asyncio.sleep(COMPARE_S + 1.0)
    assert inbox[1:] == [ChannelResumed(ROOM, Position(epoch, known + 1), NotResumable.AHEAD_OF_LOG, ())]
    hosted = await stage.replica.hub.host(ROOM)
    assert not hosted.ring.after(known)
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_an_event_that_is_no_longer_kept_is_not_compared(stage: HubStage) -> None:
    """Retention may have reached exactly the position: nothing is lost, and the next events are delivered."""
    stage.log.inner = MemoryMessageLog(max_events=3, max_age_ms=HOUR_MS)
    await stage.write(3)
    inbox = await stage.member()
    written = await stage.write(3, first=4)
    stage.hint(LinkRestored())
    await stage.until(inbox, 3)
    assert inbox == written


class LogWithHeads(FaultyLog):
    """A log that tells the heads of many channels at once."""

    broken = False

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position]:
        if self.broken:
            raise ValueError("damaged")
        return {channel: (await self.inner.read(channel, 0, 0)).head for channel in channels}


@pytest.mark.parametrize("broken", [False, True])
async def test_only_channels_that_are_behind_are_read_by_a_comparison(broken: bool) -> None:
    """If the log tells many heads at once, a channel at its head costs no read. If that fails, each channel is read."""
    log = LogWithHeads(MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS))
    log.broken = broken
    broker = Broker()
    link = broker.link()
    async with replica(log, link) as one:
        stage = HubStage(log, broker, link, one)
        other, inbox = await stage.member(BOB, FOREIGN), await stage.member()
        comparing = asyncio.create_task(one.hub.compare())
        await asyncio.sleep(COMPARE_S)
        reads = log.reads
        written = await stage.write(1)
        await asyncio.sleep(COMPARE_S + GAP_S + 0.01)
        assert (inbox, other) == (written, [])
        assert (log.reads - reads == 1) is not broken
        comparing.cancel()
        await asyncio.wait([comparing])
