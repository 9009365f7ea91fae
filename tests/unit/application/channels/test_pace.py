"""Pace: many missing events are delivered in parts, and members on slow lines get the time to take them."""

import asyncio
from collections.abc import Sequence
from math import inf

from server.application.channels.hosting import LINGER_S
from server.application.channels.pace import PACE_S, Pace
from server.application.channels.repair import GAP_S, PART_BYTES
from server.domain.events import Event, MessageCreated
from server.domain.identity import SessionId
from server.domain.recovery import REPLAY_LIMIT, json_size
from server.ports.broadcast import LinkRestored
from tests.doubles.hub_stage import ALICE, BOB, FOREIGN, HubStage
from tests.doubles.samples import ROOM, new_message
from tests.doubles.virtual_time import turns

LONG = 600
"""Characters of a message: `REPLAY_LIMIT` of them are more than may wait for a client that does not read."""


async def write(stage: HubStage, count: int = REPLAY_LIMIT) -> list[Event]:
    """Write long messages without hints."""
    return [(await stage.log.inner.append(new_message(number, text="x" * LONG))).event for number in range(count)]


def size(events: Sequence[object]) -> int:
    """Return the bytes of JSON, approximately."""
    return sum(json_size(event.message) for event in events if isinstance(event, MessageCreated))


async def test_a_member_on_a_slow_line_is_waited_for(stage: HubStage) -> None:
    """It never has to hold more than a part, and is given all."""
    inbox = await stage.member()
    stage.replica.transport.slow[ALICE] = PACE_S * 0.9
    written = await write(stage)
    stage.hint(LinkRestored())
    taken = 0
    while len(inbox) < len(written):
        await asyncio.sleep(PACE_S * 0.1)
        assert size(inbox[taken:]) <= PART_BYTES + 2 * LONG
        await asyncio.sleep(PACE_S * 0.8)
        taken = len(inbox)
    assert inbox == written
    assert size(written) > 6 * PART_BYTES


async def test_a_member_that_does_not_read_holds_up_nobody_for_long(stage: HubStage) -> None:
    """It is waited for once, for `PACE_S`, and then it is its own slow reader."""
    await stage.member(BOB)
    inbox = await stage.member()
    stage.replica.transport.slow[BOB] = inf
    written = await write(stage)
    began = asyncio.get_running_loop().time()
    stage.hint(LinkRestored())
    await stage.until(inbox, len(written))
    assert inbox == written
    assert PACE_S <= asyncio.get_running_loop().time() - began < PACE_S + 0.1


async def test_hints_during_a_paced_delivery_take_their_place(stage: HubStage) -> None:
    """They are delivered behind it; a mark in the meantime makes the channel be read once more, by the same repair."""
    inbox = await stage.member()
    stage.replica.transport.slow[ALICE] = PACE_S * 0.9
    written = await write(stage)
    stage.hint(LinkRestored())
    await asyncio.sleep(PACE_S * 0.1)
    late = await stage.write(3, first=REPLAY_LIMIT)
    reads = stage.log.reads
    stage.hint(late[1], LinkRestored())
    await asyncio.sleep(GAP_S * 2)
    assert (stage.log.reads, len(inbox) < len(written)) == (reads, True)
    await stage.until(inbox, len(written) + 3)
    assert inbox == [*written, *late]


async def test_a_refresh_waits_for_a_paced_delivery(stage: HubStage) -> None:
    """A client that is ahead of the channel is answered when the channel has come that far."""
    inbox = await stage.member()
    stage.replica.transport.slow[ALICE] = PACE_S * 0.5
    written = await write(stage)
    stage.hint(LinkRestored())
    await asyncio.sleep(PACE_S * 0.1)
    assert 0 < len(inbox) < len(written)
    await stage.replica.hub.refresh(await stage.replica.hub.host(ROOM))
    assert inbox == written


async def test_two_reads_of_a_channel_deliver_one_after_the_other(stage: HubStage) -> None:
    """The answer of a read that ends while another delivers is dropped, and asked for again afterwards."""
    inbox = await stage.member()
    stage.replica.transport.slow[ALICE] = PACE_S * 0.5
    hosted = await stage.replica.hub.host(ROOM)
    written = await write(stage)
    refreshing = asyncio.create_task(stage.replica.hub.refresh(hosted))  # delivers after `GAP_S`
    await turns(5)
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    assert len(inbox) < len(written)
    await refreshing
    await stage.until(inbox, len(written))
    assert inbox == written


async def test_a_channel_that_is_released_is_not_delivered_to_the_end(stage: HubStage) -> None:
    """The rest belongs to nobody; those who come back read the log."""
    inbox = await stage.member()
    stage.replica.transport.slow[ALICE] = PACE_S * 0.9
    hosted = await stage.replica.hub.host(ROOM)
    written = await write(stage)
    stage.hint(LinkRestored())
    await stage.until(inbox, 1)
    stage.replica.transport.disconnect(ALICE)
    hosted.empty_since -= LINGER_S
    await stage.replica.hub.release_empty()
    await asyncio.sleep(PACE_S * 2)
    assert hosted.position.offset < len(written)
    assert stage.replica.hub.hosted == 0


async def test_many_members_that_need_no_wait_leave_turns_to_others(stage: HubStage) -> None:
    """Tens of thousands are asked after each part; other tasks run in between."""
    for number in range(20_000):
        stage.replica.transport.connect(SessionId(f"member {number}"))
        stage.replica.transport.enter(SessionId(f"member {number}"), FOREIGN)
    pace, passed = Pace(stage.replica.transport, stage.replica.transport, FOREIGN), 0
    keeping = asyncio.create_task(pace.keep())
    while not keeping.done():
        passed += 1
        await asyncio.sleep(0)
    assert passed > 3
