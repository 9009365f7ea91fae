"""The hub: hints in any order become events in one order."""

import asyncio
import itertools

from server.application.channels.hub import HINTS_PER_TURN
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.events import Event, MessageCreated, erased
from server.domain.messages import Position
from server.ports.broadcast import HintsLost, LinkRestored
from tests.doubles.hub_stage import BOB, FOREIGN, HubStage
from tests.doubles.samples import NOW_MS, ROOM, event


async def test_hints_are_delivered_in_order_once(stage: HubStage) -> None:
    """Whatever order hints have and however often they come, members get 1..n; other channels get nothing of it."""
    inbox, other = await stage.member(), await stage.member(BOB, FOREIGN)
    written = await stage.write(4)
    stage.hint(written[0], written[2], written[0], written[1], written[3], written[2])
    await stage.until(inbox, 4)
    assert inbox == written
    assert other == []


async def test_a_lost_hint_is_read_from_the_log(stage: HubStage) -> None:
    """The next hint shows the gap, and the log fills it."""
    inbox = await stage.member()
    written = await stage.write(5)
    stage.hint(written[4])
    await stage.until(inbox, 5)
    assert inbox == written


async def test_the_last_hint_is_missed_when_the_link_comes_back(stage: HubStage) -> None:
    """Where no further hint shows a gap, `LinkRestored` makes the hub compare every hosted channel with the log."""
    inbox, other = await stage.member(), await stage.member(BOB, FOREIGN)
    written, elsewhere = await stage.write(3), await stage.write(2, FOREIGN, first=100)
    stage.hint(LinkRestored())
    await stage.until(inbox, 3)
    await stage.until(other, 2)
    assert inbox == written
    assert other == elsewhere


async def test_dropped_hints_are_read_from_the_log(stage: HubStage) -> None:
    """Of the channels that are named, hosted or not; no other channel is read."""
    inbox, other = await stage.member(), await stage.member(BOB, FOREIGN)
    written, elsewhere = await stage.write(3), await stage.write(2, FOREIGN, first=100)
    stage.hint(HintsLost(frozenset({ROOM, ChannelName("room:nobody")})))
    await stage.until(inbox, 3)
    assert (inbox, other) == (written, [])
    stage.hint(elsewhere[0], elsewhere[1])
    await stage.until(other, 2)
    assert other == elsewhere


async def test_a_hint_beyond_the_log_is_dropped(stage: HubStage) -> None:
    """An event that the log does not have, even when asked after it came, is never delivered, and blocks nothing."""
    inbox = await stage.member()
    written = await stage.write(2)
    stage.hint(event(7, written[0].epoch))
    await stage.until(inbox, 2)
    hosted = await stage.replica.hub.host(ROOM)
    assert hosted.sequencer is not None
    assert not hosted.sequencer.has_gap
    written += await stage.write(1, first=3)
    stage.hint(written[2])
    await stage.until(inbox, 3)
    assert inbox == written


async def test_a_flood_of_hints_leaves_turns_to_others(stage: HubStage) -> None:
    """After `HINTS_PER_TURN` hints every other task of the loop gets a turn."""
    inbox = await stage.member()
    written = await stage.write(HINTS_PER_TURN * 10)
    stage.hint(*written)
    seen = [0]
    while seen[-1] < len(written):
        await asyncio.sleep(0)
        seen.append(len(inbox))
    assert max(after - before for before, after in itertools.pairwise(seen)) <= HINTS_PER_TURN


async def test_the_log_is_told_of_each_delivered_event(stage: HubStage) -> None:
    """So a log that comes back older is found out by replicas that only listen: events that hints brought, that a heal
    brought, and the last event of a channel that is opened with it."""
    written = await stage.write(2)
    await stage.replica.hub.host(ROOM, Position(written[0].epoch, 0))
    inbox = await stage.member()
    written += await stage.write(4, first=3)
    stage.hint(written[2], written[4])
    await stage.until(inbox, 3)
    stage.hint(written[5])
    await stage.until(inbox, 4)
    assert stage.log.noted == written[1:]


async def test_a_text_is_not_delivered_together_with_its_deletion(stage: HubStage) -> None:
    """If a message's creation was held behind a gap until the message was deleted, only its place is delivered."""
    inbox = await stage.member()
    written = await stage.write(2)
    created = written[1]
    assert isinstance(created, MessageCreated)
    deleted = (await stage.log.inner.append(Deletion(ROOM, created.message.id, NOW_MS))).event
    stage.hint(created, deleted, written[0])
    await stage.until(inbox, 3)
    assert inbox == [written[0], erased(created), deleted]


async def test_an_act_follows_each_delivery(stage: HubStage) -> None:
    """In the same step: the members have the event, and nothing else yet."""
    inbox = await stage.member()
    had: list[tuple[Event, int]] = []
    stage.replica.hub.on_delivered(lambda event: had.append((event, len(inbox))))
    written = await stage.write(2)
    stage.hint(*written)
    await stage.until(inbox, 2)
    assert had == [(written[0], 1), (written[1], 2)]
