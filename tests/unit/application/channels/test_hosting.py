"""Hosting: opening a channel once for everybody, holding its hints meanwhile, and releasing it."""

import asyncio

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.hosting import EMPTY_LIMIT, LINGER_S, OPENINGS, SWEEP_S, Opening
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unavailable
from server.domain.messages import Position
from server.domain.sequencing import HELD_LIMIT
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker
from tests.doubles.faulty_log import FaultyLog, Gate, at_once
from tests.doubles.hub_stage import ALICE, FOREIGN, HubStage, offsets
from tests.doubles.replica import replica
from tests.doubles.samples import HOUR_MS, ROOM, event, event_range
from tests.doubles.virtual_time import turns


async def test_interest_comes_before_the_position(stage: HubStage) -> None:
    """The hub subscribes before it looks at the log: no event can fall between the two."""
    gate = stage.log.before = Gate()
    hosting = asyncio.create_task(stage.replica.hub.host(ROOM))
    await gate.reached.wait()
    assert stage.link.calls == [("subscribe", ROOM)]
    gate.open()
    assert (await hosting).position.offset == 0


async def test_many_first_askers_are_one_opening(stage: HubStage) -> None:
    """Askers who come while a channel opens get the same channel from one opening, and later ones from memory."""
    await stage.write(3)
    first, *others = await asyncio.gather(*(stage.replica.hub.host(ROOM) for _ in range(10)))
    assert all(other is first for other in others)
    assert first.position.offset == 3
    assert (stage.log.reads, stage.link.calls, stage.replica.hub.hosted) == (1, [("subscribe", ROOM)], 1)
    await stage.replica.hub.host(ROOM)
    assert stage.log.reads == 1


async def test_an_asker_who_gives_up_spoils_nothing_for_the_others(stage: HubStage) -> None:
    """The first asker's cancellation ends its own wait and not the opening."""
    gate = stage.log.after = Gate()
    first = asyncio.create_task(stage.replica.hub.host(ROOM))
    second = asyncio.create_task(stage.replica.hub.host(ROOM))
    await gate.reached.wait()
    first.cancel()
    await asyncio.wait([first])
    gate.open()
    assert (await second).position.offset == 0
    assert first.cancelled()


async def test_a_log_that_is_away_fails_every_asker_and_leaves_nothing_behind(stage: HubStage) -> None:
    """Each asker gets `Unavailable`, the interest is taken back, and the next asker begins anew."""
    stage.log.error = Unavailable("the disk is full")
    results = await asyncio.gather(*(stage.replica.hub.host(ROOM) for _ in range(3)), return_exceptions=True)
    assert [(type(result), str(result)) for result in results] == [(Unavailable, "the disk is full")] * 3
    assert stage.replica.hub.hosted == 0
    assert stage.link.calls == [("subscribe", ROOM), ("unsubscribe", ROOM)]
    stage.log.error = None
    assert (await stage.replica.hub.host(ROOM)).position.offset == 0


async def test_a_broker_that_is_away_fails_the_opening(stage: HubStage) -> None:
    """Without interest no channel is hosted; that the interest can't be taken back either is no further error."""
    stage.broker.away = True
    with pytest.raises(Unavailable, match="the broker is away"):
        await stage.replica.hub.host(ROOM)
    assert stage.replica.hub.hosted == 0


async def test_hints_that_come_while_a_channel_opens_are_kept(stage: HubStage) -> None:
    """An event written after the log was looked at, and hinted at before the log's answer, is not lost or repeated."""
    await stage.write(2)
    gate = stage.log.after = Gate()
    hosting = asyncio.create_task(stage.replica.hub.host(ROOM))
    await gate.reached.wait()
    stage.hint(*(await stage.write(2, first=3)))
    await turns(5)
    gate.open()
    hosted = await hosting
    assert stage.log.reads == 1
    assert hosted.position.offset == 4
    assert offsets(hosted.ring.after(0)) == [3, 4]


async def test_more_early_hints_than_are_kept_are_read_from_the_log(stage: HubStage) -> None:
    """`HELD_LIMIT` hints wait for an opening; what comes beyond makes the hub read the log once more."""
    gate = stage.log.after = Gate()
    hosting = asyncio.create_task(stage.replica.hub.host(ROOM))
    await gate.reached.wait()
    total = HELD_LIMIT + 50
    stage.hint(*(await stage.write(total)))
    await turns(total)
    stage.log.after = at_once
    gate.open()
    hosted = await hosting
    await turns(20)
    assert hosted.position.offset == total


async def test_the_hints_that_wait_for_an_opening_are_bounded() -> None:
    """Of more than `HELD_LIMIT` the first are kept, and that there were more is remembered."""
    opening = Opening(asyncio.get_running_loop().create_future())
    for held in event_range(0, HELD_LIMIT):
        opening.hold(held)
    assert not opening.missed_hints
    opening.hold(event(HELD_LIMIT + 1))
    assert (tuple(opening.held), opening.missed_hints) == (event_range(0, HELD_LIMIT), True)


async def test_a_broken_link_during_an_opening_is_not_forgotten(stage: HubStage) -> None:
    """An event whose hint was lost after the log was looked at is found, since the link said that it broke."""
    gate = stage.log.after = Gate()
    hosting = asyncio.create_task(stage.replica.hub.host(ROOM))
    await gate.reached.wait()
    await stage.write(1)
    stage.hint(LinkRestored())
    await turns(5)
    stage.log.after = at_once
    gate.open()
    hosted = await hosting
    await turns(20)
    assert hosted.position.offset == 1


async def test_an_opening_reads_what_its_asker_missed(stage: HubStage) -> None:
    """One read of the log gives the channel's position and the events after the client's; no other event is kept."""
    written = await stage.write(20)
    hosted = await stage.replica.hub.host(ROOM, Position(written[0].epoch, 15))
    assert stage.log.reads == 1
    assert hosted.position.offset == 20
    assert offsets(hosted.ring.after(0)) == [16, 17, 18, 19, 20]


@pytest.mark.parametrize("since", [Position("another", 3), Position("another", 9_000), None])
async def test_an_opening_for_a_position_that_is_not_the_logs_opens_at_the_head(
    stage: HubStage, since: Position | None
) -> None:
    """The channel's position is the head of the log, whatever the first client says."""
    await stage.write(20)
    assert (await stage.replica.hub.host(ROOM, since)).position.offset == 20


async def test_a_channel_that_is_opened_keeps_no_events(stage: HubStage) -> None:
    """Events are kept as they are delivered or asked for: 256 of each channel that is joined would fill the memory."""
    await stage.write(300)
    await stage.member()
    assert stage.replica.rings.size == 0
    stage.hint(*(await stage.write(1, first=301)))
    await turns(5)
    assert stage.replica.rings.size > 0


async def test_so_many_channels_are_opened_at_once(stage: HubStage) -> None:
    """`OPENINGS` at a time ask the broker and the log; the others are opened after them, in their order."""
    gate = stage.log.before = Gate()
    rooms = [ChannelName(f"room:{number}") for number in range(OPENINGS + 10)]
    hosting = asyncio.gather(*(stage.replica.hub.host(room) for room in rooms))
    await turns(20)
    assert stage.log.reads == OPENINGS
    gate.open()
    await hosting
    assert stage.link.calls == [("subscribe", room) for room in rooms]


async def test_an_opening_that_nobody_waits_for_is_not_begun(stage: HubStage) -> None:
    """Its askers gave up while others were opened; an asker who comes later gets an opening of its own."""
    gate = stage.log.before = Gate()
    rooms = [ChannelName(f"room:{number}") for number in range(OPENINGS)]
    hosting = asyncio.gather(*(stage.replica.hub.host(room) for room in rooms))
    await turns(20)
    askers = [asyncio.create_task(stage.replica.hub.host(FOREIGN)) for _ in range(2)]
    await turns(5)
    askers[0].cancel()
    await turns(5)
    assert stage.replica.hub.hosted == OPENINGS + 1
    askers[1].cancel()
    await turns(5)
    assert stage.replica.hub.hosted == OPENINGS
    gate.open()
    await hosting
    await turns(20)
    assert (stage.log.reads, ("subscribe", FOREIGN) in stage.link.calls) == (OPENINGS, False)
    assert (await stage.replica.hub.host(FOREIGN)).position.offset == 0


# Releasing


async def test_so_many_empty_channels_stay_hosted(stage: HubStage) -> None:
    """Beyond `EMPTY_LIMIT` those go first that were asked for longest ago, but never a channel with a member."""
    hub = stage.replica.hub
    await stage.member()
    for number in range(EMPTY_LIMIT + 50):
        await hub.host(ChannelName(f"empty:{number}"))
        if number % 100 == 0:
            await hub.host(FOREIGN)
    assert EMPTY_LIMIT <= hub.hosted <= EMPTY_LIMIT + 2
    assert stage.link.calls[-2:] == [("unsubscribe", "empty:49"), ("subscribe", "empty:5049")]
    reads = stage.log.reads
    await hub.host(FOREIGN)
    await hub.host(ROOM)
    assert stage.log.reads == reads


async def test_channels_that_become_empty_all_at_once_are_bounded_by_the_sweep(stage: HubStage) -> None:
    """Their members are gone in one moment, and no channel is opened after it."""
    for number in range(EMPTY_LIMIT + 50):
        await stage.member(ALICE, ChannelName(f"left:{number}"))
    assert stage.replica.hub.hosted == EMPTY_LIMIT + 50
    await stage.replica.hub.release_empty()
    stage.replica.transport.disconnect(ALICE)
    await stage.replica.hub.release_empty()
    assert stage.replica.hub.hosted == EMPTY_LIMIT


async def test_an_empty_channel_is_let_go_after_its_linger(stage: HubStage) -> None:
    """A channel is hosted `LINGER_S` longer than its last member or asker, and then the interest is taken back."""
    hub, transport = stage.replica.hub, stage.replica.transport
    await stage.member()
    await asyncio.sleep(LINGER_S * 2)
    await hub.release_empty()
    transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S - 0.01)
    await hub.release_empty()
    assert hub.hosted == 1
    await hub.host(ROOM)
    await asyncio.sleep(LINGER_S - 0.01)
    await hub.release_empty()
    assert hub.hosted == 1
    await asyncio.sleep(0.01)
    await hub.release_empty()
    assert hub.hosted == 0
    assert stage.link.calls == [("subscribe", ROOM), ("unsubscribe", ROOM)]


async def test_a_released_channel_keeps_no_events(stage: HubStage) -> None:
    """Their memory is free for the rings of other channels."""
    await stage.replica.hub.host(ROOM)
    stage.hint(*(await stage.write(3)))
    await turns(5)
    assert stage.replica.rings.size > 0
    await asyncio.sleep(LINGER_S)
    await stage.replica.hub.release_empty()
    assert stage.replica.rings.size == 0


async def test_the_sweep_lets_go_by_itself(stage: HubStage) -> None:
    """`sweep` looks every `SWEEP_S`, and goes on until it is cancelled; an opening channel is not swept away."""
    hub = stage.replica.hub
    sweeping = asyncio.create_task(hub.sweep())
    await hub.host(ROOM)
    gate = stage.log.before = Gate()
    opening = asyncio.create_task(hub.host(FOREIGN))
    await asyncio.sleep(LINGER_S + SWEEP_S)
    assert hub.hosted == 1
    gate.open()
    await opening
    assert hub.hosted == 1
    await asyncio.sleep(LINGER_S + SWEEP_S)
    assert hub.hosted == 0
    assert not sweeping.done()
    sweeping.cancel()
    await asyncio.wait([sweeping])
    assert sweeping.cancelled()


async def test_a_broker_that_is_away_keeps_no_channel_hosted(stage: HubStage) -> None:
    """Taking interest back may fail: that costs traffic, and hints of channels that are not hosted are ignored."""
    hub = stage.replica.hub
    await hub.host(ROOM)
    stage.broker.away = True
    await asyncio.sleep(LINGER_S)
    await hub.release_empty()
    assert hub.hosted == 0
    stage.hint(event(1), LinkRestored())
    await turns(5)
    assert not stage.replica.hearing.done()


async def test_hosted_channels_are_bounded() -> None:
    """Empty ones make room, those first that were asked for longest ago. If all have members, no further one opens; it
    does as soon as one is empty. Those that are open are not asked about any bound."""
    log, link = FaultyLog(MemoryMessageLog(max_events=10, max_age_ms=HOUR_MS)), Broker().link()
    rooms = [ChannelName(f"room:{number}") for number in range(8)]
    async with replica(log, link, hosted=4) as one:
        hub, members = one.hub, one.transport
        members.connect(ALICE)
        first = await hub.host(rooms[0])
        for room in rooms[1:4]:
            await hub.host(room)
        await hub.host(rooms[0])
        await hub.host(rooms[4])
        assert (hub.hosted, hub.hosts(rooms[0]), hub.hosts(rooms[1])) == (4, True, False)
        for room in (rooms[0], *rooms[2:5]):
            members.enter(ALICE, room)
        results = await asyncio.gather(*map(hub.host, rooms[5:]), return_exceptions=True)
        assert [type(result) for result in results] == [Overloaded] * 3
        assert (hub.hosted, link.calls[-1]) == (4, ("subscribe", rooms[4]))
        assert await hub.host(rooms[0]) is first
        members.leave(ALICE, rooms[3])
        await hub.host(rooms[3])
        await hub.host(rooms[5])
        assert (hub.hosted, hub.hosts(rooms[3])) == (4, False)


async def test_joining_and_leaving_made_up_channels_keeps_few(stage: HubStage) -> None:
    """Nor does each of them wait for `LINGER_S`: the bound holds while the channels come."""
    inbox = stage.replica.transport.connect(ALICE)
    for number in range(EMPTY_LIMIT + 200):
        channel = ChannelName(f"made-up:{number}")
        await stage.replica.hub.host(channel)
        stage.replica.transport.enter(ALICE, channel)
        stage.replica.transport.leave(ALICE, channel)
        assert stage.replica.hub.hosted <= EMPTY_LIMIT + 1
    assert inbox == []


async def test_a_hosted_channel_with_events_is_known_to_exist(stage: HubStage) -> None:
    """One that is empty, or not hosted, may not."""
    hub = stage.replica.hub
    await stage.write(1)
    assert not hub.has_events(ROOM)
    await hub.host(ROOM)
    await hub.host(FOREIGN)
    assert (hub.has_events(ROOM), hub.has_events(FOREIGN)) == (True, False)
