"""The hub: hosting, order, healing, and what it tells members when the log is another one than before."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.healing import COMPARE_S, REPAIRS, RETRY_S
from server.application.channels.hosting import LINGER_S, SWEEP_S, Opening
from server.application.channels.hub import HINTS_PER_TURN
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unavailable
from server.domain.events import Event
from server.domain.identity import SessionId
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.domain.sequencing import HELD_LIMIT
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog, Gate, at_once
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, event, event_range, new_message
from tests.doubles.virtual_time import turns

ALICE = SessionId("alice's")
BOB = SessionId("bob's")
FOREIGN = ChannelName("room:foreign")


@dataclass(frozen=True, slots=True)
class House:
    """One replica over a log that can fail and a link on which a test puts the hints by hand."""

    log: FaultyLog
    broker: Broker
    link: BrokerLink
    replica: Replica

    async def write(self, count: int, channel: ChannelName = ROOM, first: int = 1) -> list[Event]:
        """Append messages, and hint at none of them."""
        return [(await self.log.inner.append(new_message(first + i, channel))).event for i in range(count)]

    async def member(self, session: SessionId = ALICE, channel: ChannelName = ROOM) -> list[object]:
        """Host the channel and put a session into it; return its inbox."""
        inbox = self.replica.transport.connect(session)
        await self.replica.hub.host(channel)
        self.replica.transport.enter(session, channel)
        return inbox

    async def until(self, inbox: list[object], count: int) -> None:
        """Wait until so much has arrived, and then a little for what must not."""
        await self.replica.transport.until(lambda: len(inbox) >= count)
        await turns(20)

    def hint(self, *hints: Event | LinkRestored) -> None:
        """Let hints arrive."""
        for hint in hints:
            self.link.arrive(hint)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A replica that hears what the test says, over a log that keeps the last 10,000 events."""
    log = FaultyLog(MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS))
    broker = Broker()
    link = broker.link()
    async with replica(log, link) as one:
        yield House(log, broker, link, one)


def offsets(inbox: Sequence[object]) -> list[int]:
    """The offsets of the events in an inbox."""
    return [event.offset for event in inbox if isinstance(event, Event)]


# Hosting


async def test_interest_comes_before_the_position(house: House) -> None:
    """The hub subscribes before it looks at the log: no event can fall between the two."""
    gate = house.log.before = Gate()
    hosting = asyncio.create_task(house.replica.hub.host(ROOM))
    await gate.reached.wait()
    assert house.link.calls == [("subscribe", ROOM)]
    gate.open()
    assert (await hosting).position.offset == 0


async def test_many_first_askers_are_one_opening(house: House) -> None:
    """Askers who come while a channel opens get the same channel from one opening, and later ones from memory."""
    await house.write(3)
    first, *others = await asyncio.gather(*(house.replica.hub.host(ROOM) for _ in range(10)))
    assert all(other is first for other in others)
    assert first.position.offset == 3
    assert first.ring.after(0) == tuple((await house.log.inner.read(ROOM, 0, 10)).events)
    assert (house.log.reads, house.link.calls, house.replica.hub.hosted) == (2, [("subscribe", ROOM)], 1)
    await house.replica.hub.host(ROOM)
    assert house.log.reads == 2


async def test_an_asker_who_gives_up_spoils_nothing_for_the_others(house: House) -> None:
    """The first asker's cancellation ends its own wait and not the opening."""
    gate = house.log.after = Gate()
    first = asyncio.create_task(house.replica.hub.host(ROOM))
    second = asyncio.create_task(house.replica.hub.host(ROOM))
    await gate.reached.wait()
    first.cancel()
    await asyncio.wait([first])
    gate.open()
    assert (await second).position.offset == 0
    assert first.cancelled()


async def test_a_log_that_is_away_fails_every_asker_and_leaves_nothing_behind(house: House) -> None:
    """Each asker gets `Unavailable`, the interest is taken back, and the next asker begins anew."""
    house.log.error = Unavailable("the disk is full")
    results = await asyncio.gather(*(house.replica.hub.host(ROOM) for _ in range(3)), return_exceptions=True)
    assert [(type(result), str(result)) for result in results] == [(Unavailable, "the disk is full")] * 3
    assert house.replica.hub.hosted == 0
    assert house.link.calls == [("subscribe", ROOM), ("unsubscribe", ROOM)]
    house.log.error = None
    assert (await house.replica.hub.host(ROOM)).position.offset == 0


async def test_a_broker_that_is_away_fails_the_opening(house: House) -> None:
    """Without interest no channel is hosted; that the interest can't be taken back either is no further error."""
    house.broker.away = True
    with pytest.raises(Unavailable, match="the broker is away"):
        await house.replica.hub.host(ROOM)
    assert house.replica.hub.hosted == 0


async def test_hints_that_come_while_a_channel_opens_are_kept(house: House) -> None:
    """An event written after the log was looked at, and hinted at before the log's answer, is not lost or repeated."""
    await house.write(2)
    gate = Gate()

    async def look_again() -> None:
        house.log.after = gate

    house.log.after = look_again
    hosting = asyncio.create_task(house.replica.hub.host(ROOM))
    await gate.reached.wait()
    house.hint(*(await house.write(2, first=3)))
    await turns(5)
    gate.open()
    hosted = await hosting
    assert house.log.reads == 2
    assert hosted.position.offset == 4
    assert offsets(hosted.ring.after(0)) == [1, 2, 3, 4]


async def test_more_early_hints_than_are_kept_are_read_from_the_log(house: House) -> None:
    """`HELD_LIMIT` hints wait for an opening; what comes beyond makes the hub read the log once more."""
    gate = house.log.after = Gate()
    hosting = asyncio.create_task(house.replica.hub.host(ROOM))
    await gate.reached.wait()
    total = HELD_LIMIT + 50
    house.hint(*(await house.write(total)))
    await turns(total)
    house.log.after = at_once
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


async def test_a_broken_link_during_an_opening_is_not_forgotten(house: House) -> None:
    """An event whose hint was lost after the log was looked at is found, since the link said that it broke."""
    gate = house.log.after = Gate()
    hosting = asyncio.create_task(house.replica.hub.host(ROOM))
    await gate.reached.wait()
    await house.write(1)
    house.hint(LinkRestored())
    await turns(5)
    house.log.after = at_once
    gate.open()
    hosted = await hosting
    await turns(20)
    assert hosted.position.offset == 1


async def test_an_opening_that_knows_itself_behind_reads_on(house: House) -> None:
    """Where the channel grew between the two reads of an opening, the rest is fetched without waiting for a hint."""
    await house.write(300)

    async def grow() -> None:
        house.log.after = at_once
        await house.write(10, first=301)

    house.log.after = grow
    hosted = await house.replica.hub.host(ROOM)
    await turns(20)
    assert hosted.position.offset == 310


async def test_a_log_trimmed_between_the_two_reads_of_an_opening(house: House) -> None:
    """Where what the second read asked for is dropped by then, the channel begins at the head with an empty ring."""
    house.log.inner = MemoryMessageLog(max_events=300, max_age_ms=HOUR_MS)
    await house.write(300)

    async def trim() -> None:
        house.log.after = at_once
        await house.write(400, first=301)

    house.log.after = trim
    hosted = await house.replica.hub.host(ROOM)
    assert hosted.position.offset == 700
    assert hosted.ring.after(0) == ()


# Letting go


async def test_an_empty_channel_is_let_go_after_its_linger(house: House) -> None:
    """A channel is hosted `LINGER_S` longer than its last member or asker, and then the interest is taken back."""
    hub, transport = house.replica.hub, house.replica.transport
    await house.member()
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
    assert house.link.calls == [("subscribe", ROOM), ("unsubscribe", ROOM)]


async def test_the_sweep_lets_go_by_itself(house: House) -> None:
    """`sweep` looks every `SWEEP_S`, and goes on until it is cancelled; an opening channel is not swept away."""
    hub = house.replica.hub
    sweeping = asyncio.create_task(hub.sweep())
    await hub.host(ROOM)
    gate = house.log.before = Gate()
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


async def test_a_broker_that_is_away_keeps_no_channel_hosted(house: House) -> None:
    """Taking interest back may fail: that costs traffic, and hints of channels that are not hosted are ignored."""
    hub = house.replica.hub
    await hub.host(ROOM)
    house.broker.away = True
    await asyncio.sleep(LINGER_S)
    await hub.release_empty()
    assert hub.hosted == 0
    house.hint(event(1), LinkRestored())
    await turns(5)
    assert not house.replica.hearing.done()


# Order


async def test_hints_are_delivered_in_order_once(house: House) -> None:
    """Whatever order hints have and however often they come, members get 1..n; other channels get nothing of it."""
    inbox, other = await house.member(), await house.member(BOB, FOREIGN)
    written = await house.write(4)
    house.hint(written[0], written[2], written[0], written[1], written[3], written[2])
    await house.until(inbox, 4)
    assert inbox == written
    assert other == []


async def test_a_lost_hint_is_read_from_the_log(house: House) -> None:
    """The next hint shows the gap, and the log fills it."""
    inbox = await house.member()
    written = await house.write(5)
    house.hint(written[4])
    await house.until(inbox, 5)
    assert inbox == written


async def test_the_last_hint_is_missed_when_the_link_comes_back(house: House) -> None:
    """Where no further hint shows a gap, `LinkRestored` makes the hub compare every hosted channel with the log."""
    inbox, other = await house.member(), await house.member(BOB, FOREIGN)
    written, elsewhere = await house.write(3), await house.write(2, FOREIGN, first=100)
    house.hint(LinkRestored())
    await house.until(inbox, 3)
    await house.until(other, 2)
    assert inbox == written
    assert other == elsewhere


async def test_a_hint_beyond_the_log_is_dropped(house: House) -> None:
    """An event that the log does not have, even when asked after it came, is never delivered, and blocks nothing."""
    inbox = await house.member()
    written = await house.write(2)
    house.hint(event(7, written[0].epoch))
    await house.until(inbox, 2)
    hosted = await house.replica.hub.host(ROOM)
    assert hosted.sequencer is not None
    assert not hosted.sequencer.has_gap
    written += await house.write(1, first=3)
    house.hint(written[2])
    await house.until(inbox, 3)
    assert inbox == written


async def test_a_flood_of_hints_leaves_turns_to_others(house: House) -> None:
    """After `HINTS_PER_TURN` hints every other task of the loop gets a turn."""
    inbox = await house.member()
    written = await house.write(HINTS_PER_TURN * 10)
    house.hint(*written)
    seen = [0]
    while seen[-1] < len(written):
        await asyncio.sleep(0)
        seen.append(len(inbox))
    assert max(after - before for before, after in itertools.pairwise(seen)) <= HINTS_PER_TURN


# Healing


async def test_healing_outlives_an_outage_of_the_log(house: House) -> None:
    """While the log is away the hub asks again every `RETRY_S`, and afterwards delivers what was missing."""
    inbox = await house.member()
    written = await house.write(3)
    house.log.error = Unavailable("away")
    reads = house.log.reads
    house.hint(written[2])
    await asyncio.sleep(RETRY_S * 4 + RETRY_S / 2)
    assert house.log.reads == reads + 5
    assert inbox == []
    house.log.error = None
    await house.until(inbox, 3)
    assert inbox == written


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(house: House) -> None:
    """However many channels wait and however often they try, the log has one line for each change."""
    await house.member()
    await house.member(BOB, FOREIGN)
    with capture_logs() as lines:
        house.log.error = Unavailable("away")
        house.hint(LinkRestored())
        await asyncio.sleep(RETRY_S * 10)
        house.log.error = None
        await asyncio.sleep(RETRY_S * 10)
    assert [(line["event"], line["code"]) for line in lines] == [
        ("healing.halted", "unavailable"),
        ("healing.resumed", None),
    ]


async def test_a_hint_that_was_lost_silently_is_found(house: House) -> None:
    """Where neither a later hint nor the link tells of it, a comparison with the log does, within `COMPARE_S`."""
    inbox = await house.member()
    comparing = asyncio.create_task(house.replica.hub.compare())
    await turns(20)
    reads = house.log.reads
    written = await house.write(2)
    await asyncio.sleep(COMPARE_S + 0.01)
    assert inbox == written
    await asyncio.sleep(COMPARE_S * 9)
    assert house.log.reads == reads + 10
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_a_comparison_leaves_out_what_was_let_go(house: House) -> None:
    """A channel that is let go is not asked for, however far its round is; the others are, each once a round."""
    await house.member()
    await house.replica.hub.host(FOREIGN)
    await asyncio.sleep(LINGER_S)
    comparing = asyncio.create_task(house.replica.hub.compare())
    await turns(20)
    await house.replica.hub.release_empty()
    reads = house.log.reads
    await asyncio.sleep(COMPARE_S + 0.01)
    assert (house.log.reads - reads, comparing.done()) == (1, False)
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_so_many_channels_heal_at_once(house: House) -> None:
    """At most `REPAIRS` healing reads are under way; the other channels wait for their turn, and all get it."""
    channels = [ChannelName(f"room:{number}") for number in range(REPAIRS + 10)]
    inboxes = [await house.member(SessionId(channel), channel) for channel in channels]
    for channel in channels:
        await house.write(1, channel)
    gate = house.log.after = Gate()
    reads = house.log.reads
    house.hint(LinkRestored())
    await gate.reached.wait()
    await turns(100)
    assert house.log.reads == reads + REPAIRS
    gate.open()
    for inbox in inboxes:
        await house.until(inbox, 1)
    assert [offsets(inbox) for inbox in inboxes] == [[1]] * len(channels)


async def test_a_channel_that_is_far_behind_is_healed_in_turns(house: House) -> None:
    """More than a healing's reads can bring is brought by the next one, whole and in order."""
    inbox = await house.member()
    written = await house.write(REPLAY_LIMIT * 8 + 500)
    house.hint(LinkRestored())
    await house.until(inbox, len(written))
    assert inbox == written


async def test_two_healings_of_one_channel_repeat_nothing(house: House) -> None:
    """Hints that arrive while the log is read start a second reading; each event is still delivered once."""
    inbox = await house.member()
    written = await house.write(5)
    gate = house.log.after = Gate()
    house.hint(written[2])
    await gate.reached.wait()
    house.hint(written[4], written[0], written[1])
    await turns(10)
    gate.open()
    await house.until(inbox, 5)
    assert inbox == written


async def test_a_refresh_brings_what_the_log_has(house: House) -> None:
    """`refresh` delivers what is missing before it returns, even more than one read gives."""
    inbox = await house.member()
    hosted = await house.replica.hub.host(ROOM)
    written = await house.write(REPLAY_LIMIT * 2 + 1)
    await house.replica.hub.refresh(hosted)
    assert inbox == written


async def test_a_refresh_that_would_take_too_long_says_so(house: House) -> None:
    """A channel that is further behind than `refresh` may read is overloaded now, and is healed beside that."""
    inbox = await house.member()
    hosted = await house.replica.hub.host(ROOM)
    written = await house.write(REPLAY_LIMIT * 8 + 1)
    with pytest.raises(Overloaded, match="'room:1'"):
        await house.replica.hub.refresh(hosted)
    await house.until(inbox, len(written))
    assert inbox == written


async def test_a_healing_of_a_channel_that_was_let_go_delivers_nothing(house: House) -> None:
    """A channel that is hosted anew is not given events again by the healing of its former life."""
    await house.member()
    house.log.error = Unavailable("away")
    written = await house.write(2)
    house.hint(LinkRestored())
    house.replica.transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S)
    await house.replica.hub.release_empty()
    house.log.error = None
    inbox = await house.member(BOB)
    await asyncio.sleep(RETRY_S * 2)
    assert inbox == []
    written += await house.write(1, first=3)
    house.hint(written[2])
    await house.until(inbox, 1)
    assert offsets(inbox) == [3]


async def test_a_channel_that_was_let_go_is_not_asked_for_any_longer(house: House) -> None:
    """The retries of a healing end with the channel: the log is not read for what nobody here waits for."""
    await house.replica.hub.host(ROOM)
    house.log.error = Unavailable("away")
    house.hint(LinkRestored())
    await asyncio.sleep(LINGER_S)
    await house.replica.hub.release_empty()
    reads = house.log.reads
    await asyncio.sleep(RETRY_S * 10)
    assert house.log.reads == reads


async def test_a_healing_that_is_under_way_when_its_channel_goes_is_dropped(house: House) -> None:
    """The answer to a read of a channel that was let go, and is hosted anew by then, is delivered to nobody."""
    await house.member()
    await house.write(2)
    gate = house.log.after = Gate()
    house.hint(LinkRestored())
    await gate.reached.wait()
    house.log.after = at_once
    house.replica.transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S)
    await house.replica.hub.release_empty()
    inbox = await house.member(BOB)
    gate.open()
    await turns(50)
    assert inbox == []
    house.hint(*(await house.write(1, first=3)))
    await house.until(inbox, 1)
    assert offsets(inbox) == [3]


# Another log than before


async def restarted(house: House, inbox: list[object], reason: NotResumable, head: int) -> None:
    """Check that the member was told of a new position, once, and that it gets what is written from there on."""
    position = (await house.log.inner.read(ROOM, 0, 0)).head
    assert position.offset == head
    assert inbox == [ChannelResumed(ROOM, position, reason, ())]
    house.hint(*(await house.write(2, first=50_000)))
    await house.until(inbox, 3)
    assert offsets(inbox) == [head + 1, head + 2]


async def test_a_lost_log_is_told_to_the_members(house: House) -> None:
    """The first hint of the new epoch makes the hub ask the log; members get the new epoch's head, then its events."""
    await house.write(5)
    inbox = await house.member()
    inner = house.log.inner
    assert isinstance(inner, MemoryMessageLog)
    inner.forget(ROOM)
    house.hint(*(await house.write(2, first=10)))
    await house.until(inbox, 1)
    await restarted(house, inbox, NotResumable.EPOCH_CHANGED, 2)


async def test_a_log_that_comes_back_older_is_told_to_the_members(house: House) -> None:
    """A head below the position means that events which were delivered are gone: members start over from the head."""
    await house.write(3)
    older = copy.deepcopy(house.log.inner)
    await house.write(2, first=4)
    inbox = await house.member()
    house.log.inner = older
    house.hint(LinkRestored())
    await house.until(inbox, 1)
    await restarted(house, inbox, NotResumable.AHEAD_OF_LOG, 3)


async def test_what_was_dropped_before_it_was_seen_is_told_to_the_members(house: House) -> None:
    """Where retention has passed the position by, no part of the slice is given: members start over from the head."""
    house.log.inner = MemoryMessageLog(max_events=10, max_age_ms=HOUR_MS)
    await house.write(3)
    inbox = await house.member()
    await house.write(20, first=4)
    house.hint(LinkRestored())
    await house.until(inbox, 1)
    await restarted(house, inbox, NotResumable.EXPIRED, 23)


async def test_hints_of_a_former_epoch_change_nothing(house: House) -> None:
    """A late hint of the lost log makes the hub ask the log, which knows better; members see nothing of it."""
    old = await house.write(3)
    inner = house.log.inner
    assert isinstance(inner, MemoryMessageLog)
    inner.forget(ROOM)
    inbox = await house.member()
    house.hint(old[2])
    written = await house.write(1, first=9)
    house.hint(written[0], old[0])
    await house.until(inbox, 1)
    assert inbox == written


async def test_a_late_answer_of_a_former_epoch_does_not_bring_it_back(house: House) -> None:
    """An answer that was under way while the log was lost and the hub moved on is read anew, not believed."""
    old = await house.write(2)
    inbox = await house.member()
    inner = house.log.inner
    assert isinstance(inner, MemoryMessageLog)
    late = house.log.after = Gate()
    house.hint(LinkRestored())
    await late.reached.wait()
    house.log.after = at_once
    inner.forget(ROOM)
    written = await house.write(3, first=9)
    house.hint(written[0])
    await house.until(inbox, 1)
    late.open()
    await turns(50)
    position = Position(written[0].epoch, 3)
    assert position.epoch != old[0].epoch
    assert inbox == [ChannelResumed(ROOM, position, NotResumable.EPOCH_CHANGED, ())]
    assert (await house.replica.hub.host(ROOM)).position == position


async def test_a_late_answer_of_an_older_log_restarts_once(house: House) -> None:
    """Two reads that both find the log older tell the members once, and take back nothing that came since."""
    await house.write(3)
    older = copy.deepcopy(house.log.inner)
    await house.write(2, first=4)
    inbox = await house.member()
    house.log.inner = older
    late = house.log.after = Gate()
    house.hint(LinkRestored())
    await late.reached.wait()
    house.log.after = at_once
    house.hint(LinkRestored())
    await house.until(inbox, 1)
    written = await house.write(1, first=9)
    house.hint(written[0])
    await house.until(inbox, 2)
    late.open()
    await turns(50)
    assert inbox == [ChannelResumed(ROOM, Position(written[0].epoch, 3), NotResumable.AHEAD_OF_LOG, ()), written[0]]
