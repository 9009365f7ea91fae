"""Joining, resuming, leaving: exactly what was missed, and then what comes."""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.catching_up import REPLAY_READS
from server.application.channels.hosting import EMPTY_LIMIT, LINGER_S
from server.application.channels.new_channels import NEW_CHANNELS
from server.application.channels.resume_queue import RESUMES
from server.application.channels.resuming import Joined
from server.application.channels.subscriptions import Subscriptions
from server.domain.channels import ChannelName
from server.domain.errors import (
    Overloaded,
    PermissionDenied,
    RateLimited,
    TooManyChannels,
    Unauthenticated,
    Unavailable,
)
from server.domain.events import Event, MessageEvent
from server.domain.identity import Identity, SessionId
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import REPLAY_BYTES, REPLAY_LIMIT, NotResumable, json_size
from server.domain.rings import RING_LIMIT, EncodedEvent
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog, Gate, at_once
from tests.doubles.replica import MAX_CHANNELS, Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, identity, new_message
from tests.doubles.virtual_time import turns

ALICE = identity("alice")
HERS = SessionId("alice's")
RETENTION = 5_000


@dataclass
class Door:
    """One replica, its log, and a session that may join."""

    log: FaultyLog
    link: BrokerLink
    replica: Replica
    inbox: list[object]
    written: int = 0

    async def write(self, count: int, *, hinted: bool = True, text: str | None = None) -> list[MessageEvent]:
        """Append messages to the room, hint at them where it is said, and let the hub hear."""
        events = []
        for _ in range(count):
            self.written += 1
            events.append((await self.log.inner.append(new_message(self.written, text=text))).event)
            if hinted:
                self.link.arrive(events[-1])
        await turns(count // 16 + 3)
        return events

    async def join(self, since: Position | None = None, history: int = 0, who: Identity = ALICE) -> Joined:
        """Alice's session joins the room."""
        answers: list[Joined] = []
        await self.replica.subscriptions.join(HERS, who, ROOM, answers.append, since, history)
        (joined,) = answers
        return joined

    async def epoch(self) -> str:
        """The room's epoch."""
        return (await self.log.inner.read(ROOM, 0, 0)).head.epoch

    @property
    def memory(self) -> MemoryMessageLog:
        """The log itself."""
        assert isinstance(self.log.inner, MemoryMessageLog)
        return self.log.inner


def ignored(_: Joined) -> None:
    """An answer in which a test is not interested."""


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """The room is empty, and Alice is connected and nowhere."""
    log = FaultyLog(MemoryMessageLog(max_events=RETENTION, max_age_ms=HOUR_MS))
    link = Broker().link()
    async with replica(log, link) as one:
        yield Door(log, link, one, one.transport.connect(HERS))


def offsets(events: Sequence[object]) -> list[int]:
    """What a test compares."""
    return [event.offset for event in events if isinstance(event, Event | EncodedEvent)]


# A replica without time


async def test_a_replica_without_time_gives_what_was_missed_and_no_more(door: Door) -> None:
    """A join that asks for the last events is refused. One from a position loses nothing, and one without events costs
    little: both are done."""

    def refuse() -> None:
        raise Overloaded("later", retry_after_ms=2_000)

    await door.write(5)
    one = door.replica
    busy = Subscriptions(one.log, one.hub, one.transport, one.transport, MAX_CHANNELS, check_read=refuse)
    told: list[Joined] = []
    with pytest.raises(Overloaded):
        await busy.join(HERS, ALICE, ROOM, told.append, history=3)
    assert (told, [*one.transport.channels(HERS)]) == ([], [])
    await busy.join(HERS, ALICE, ROOM, told.append)
    for history in (0, 3):
        await busy.join(HERS, ALICE, ROOM, told.append, Position(await door.epoch(), 2), history)
    assert [offsets(joined.events) for joined in told] == [[], [3, 4, 5], [3, 4, 5]]


# A join that waits for nothing


async def test_a_join_at_once_enters_a_hosted_channel(door: Door) -> None:
    """It gives the position as a join does, and every event beyond it is delivered."""
    await door.write(3)
    joined = await door.join()
    door.replica.subscriptions.leave(HERS, ROOM)
    await door.write(1)
    assert door.replica.subscriptions.join_at_once(HERS, ALICE, ROOM) == Joined(
        Position(joined.position.epoch, 4), None, ()
    )
    await door.write(1)
    assert offsets(door.inbox) == [5]


async def test_a_join_at_once_keeps_the_channel_as_a_join_does(door: Door) -> None:
    """The channel stays hosted for as long after it, though its member leaves before anybody looks."""
    subscriptions, hub = door.replica.subscriptions, door.replica.hub
    await door.join()
    subscriptions.leave(HERS, ROOM)
    await asyncio.sleep(LINGER_S - 1)
    assert subscriptions.join_at_once(HERS, ALICE, ROOM) is not None
    subscriptions.leave(HERS, ROOM)
    await asyncio.sleep(2)
    await hub.release_empty()
    assert subscriptions.hosts(ROOM)
    await asyncio.sleep(LINGER_S)
    await hub.release_empty()
    assert not subscriptions.hosts(ROOM)


@pytest.mark.parametrize("why", ["not hosted", "denied", "full", "gone", "after a fault"])
async def test_a_join_at_once_leaves_the_rest_to_a_join(door: Door, why: str) -> None:
    """Nothing is done if something has to be waited for, or if the session is to be refused."""
    subscriptions, channel, who, session = door.replica.subscriptions, ROOM, ALICE, HERS
    if why != "not hosted":
        await door.join()
        subscriptions.leave(HERS, ROOM)
    if why == "denied":
        who = identity("alice", grants={"room:*": ["send"]})
    elif why == "full":
        for number in range(MAX_CHANNELS):
            await subscriptions.join(HERS, ALICE, ChannelName(f"other:{number}"), ignored)
    elif why == "gone":
        session = SessionId("another's")
    elif why == "after a fault":
        door.replica.hub.quarantine.add(ROOM, RuntimeError("a fault of ours"))
    assert subscriptions.join_at_once(session, who, channel) is None
    assert ROOM not in door.replica.transport.channels(HERS)


# What a join gives


async def test_a_join_gives_the_position_and_then_all_that_comes(door: Door) -> None:
    """Without `since` and `history` nothing is replayed; every event beyond the position is delivered."""
    await door.write(3)
    joined = await door.join()
    assert joined == Joined(Position(await door.epoch(), 3), None, ())
    await door.write(2)
    assert offsets(door.inbox) == [4, 5]


@pytest.mark.parametrize(
    ("size", "history", "expected"),
    [
        (0, 10, []),
        (3, 10, [1, 2, 3]),
        (20, 10, [*range(11, 21)]),
        (20, 0, []),
        (RING_LIMIT + 100, 100, [*range(RING_LIMIT + 1, RING_LIMIT + 101)]),
    ],
)
async def test_a_join_with_history_gives_the_last_events(
    door: Door, size: int, history: int, expected: list[int]
) -> None:
    """The last `history` events up to the position, oldest first, as many as there are."""
    await door.write(size)
    joined = await door.join(history=history)
    assert offsets(joined.events) == expected
    assert (joined.position.offset, joined.reason) == (size, None)


@pytest.mark.parametrize(
    ("size", "since"),
    [(0, 0), (5, 5), (5, 4), (5, 0), (RING_LIMIT + 100, 0), (1_500, 500), (1_500, 1_500 - RING_LIMIT)],
)
async def test_a_join_with_since_gives_exactly_what_was_missed(door: Door, size: int, since: int) -> None:
    """All events after `since` up to the position, each once, in order, from the ring or from the log."""
    await door.write(size)
    joined = await door.join(Position(await door.epoch(), since))
    assert joined.reason is None
    assert offsets(joined.events) == [*range(since + 1, size + 1)]
    await door.write(1)
    assert offsets(door.inbox) == [size + 1]


@pytest.mark.parametrize(("history", "expected"), [(0, []), (3, [398, 399, 400]), (100, [*range(301, 401)])])
async def test_more_bytes_than_a_replay_holds_are_too_far_behind(door: Door, history: int, expected: list[int]) -> None:
    """Never a part: a slice over its bytes is not given, but the last `history` events of it are."""
    await door.write(400, text="x" * 3_000)
    joined = await door.join(Position(await door.epoch(), 0), history=history)
    assert joined.reason is NotResumable.TOO_FAR_BEHIND
    assert offsets(joined.events) == expected


async def test_a_replay_of_too_many_bytes_is_read_once(door: Door) -> None:
    """Whoever comes back from there later costs no read of the log, and what fits is given as before."""
    await door.write(400, text="x" * 3_000)
    epoch = await door.epoch()
    await door.join(Position(epoch, 0))
    given = REPLAY_BYTES // json_size((await door.join(history=1)).events[0])
    reads = door.log.reads
    for since in (0, 0, 100, 400 - given - 1):
        joined = await door.join(Position(epoch, since))
        assert (joined.reason, joined.events) == (NotResumable.TOO_FAR_BEHIND, ())
    assert door.log.reads == reads
    joined = await door.join(Position(epoch, 400 - given))
    assert (joined.reason, len(joined.events)) == (None, given)
    hosted = await door.replica.hub.host(ROOM)
    hosted.restart(Position("another", 400))
    assert hosted.heavy == 0


async def test_history_is_cut_to_its_bytes(door: Door) -> None:
    """As many of the last events as a replay holds, up to the position."""
    await door.write(100, text="\x01" * 4_000)
    joined = await door.join(history=100)
    assert joined.reason is None
    given = REPLAY_BYTES // json_size(joined.events[0])
    assert offsets(joined.events) == [*range(101 - given, 101)]


async def test_a_reconnect_is_served_from_memory(door: Door) -> None:
    """What the ring has costs no read of the log, however many clients come back."""
    await door.write(100)
    await door.join(history=100)
    reads = door.log.reads
    for since in range(100):
        joined = await door.join(Position(await door.epoch(), since), history=50)
        assert offsets(joined.events) == [*range(since + 1, 101)]
    assert door.log.reads == reads


async def test_history_beyond_the_ring_is_read_once(door: Door) -> None:
    """If the ring begins later than the asked-for slice, one read of the log gives the rest."""
    await door.write(50, hinted=False)
    await door.join()
    door.link.arrive((await door.log.inner.append(new_message(9_999))).event)
    (await door.replica.hub.host(ROOM)).ring.clear()
    await turns(5)
    reads = door.log.reads
    assert offsets((await door.join(history=20)).events) == [*range(32, 52)]
    assert door.log.reads == reads + 1


async def test_history_begins_where_retention_does(door: Door) -> None:
    """What the log no longer keeps is not waited for: the history is what is left."""
    door.log.inner = MemoryMessageLog(max_events=5, max_age_ms=HOUR_MS)
    await door.write(12)
    joined = await door.join(history=10)
    assert offsets(joined.events) == [8, 9, 10, 11, 12]
    assert (joined.position.offset, joined.reason) == (12, None)


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (Position("another", 3), NotResumable.EPOCH_CHANGED),
        (Position("another", 900_000), NotResumable.EPOCH_CHANGED),
        (Position("", 2_001), NotResumable.AHEAD_OF_LOG),
        (Position("", 999), NotResumable.TOO_FAR_BEHIND),
        (Position("", 2_000 - REPLAY_LIMIT - 1), NotResumable.TOO_FAR_BEHIND),
    ],
)
async def test_what_can_t_be_given_whole_is_not_given_in_part(
    door: Door, since: Position, reason: NotResumable
) -> None:
    """The reason, the present position, no event of the missed ones; with `history`, the last so many instead."""
    await door.write(2_000)
    if not since.epoch:
        since = Position(await door.epoch(), since.offset)
    bare = await door.join(since)
    assert bare == Joined(Position(await door.epoch(), 2_000), reason, ())
    joined = await door.join(since, history=5)
    assert (joined.reason, offsets(joined.events)) == (reason, [1_996, 1_997, 1_998, 1_999, 2_000])


async def test_what_retention_has_dropped_is_expired(door: Door) -> None:
    """A position below the floor has expired; the events after a position at the floor are all given."""
    door.log.inner = MemoryMessageLog(max_events=300, max_age_ms=HOUR_MS)
    await door.write(700)
    expired = await door.join(Position(await door.epoch(), 399))
    assert (expired.reason, expired.events, expired.position.offset) == (NotResumable.EXPIRED, (), 700)
    served = await door.join(Position(await door.epoch(), 400))
    assert (served.reason, offsets(served.events)) == (None, [*range(401, 701)])


async def test_retention_that_passes_during_the_read_is_expired(door: Door) -> None:
    """The floor that counts is the one of the log's answer, not the one of the asking."""
    door.log.inner = MemoryMessageLog(max_events=300, max_age_ms=HOUR_MS)
    await door.write(300)
    since = Position(await door.epoch(), 0)
    await door.join(since)
    (await door.replica.hub.host(ROOM)).ring.clear()

    async def trim() -> None:
        door.log.before = at_once
        await door.write(10)

    door.log.before = trim
    joined = await door.join(since)
    assert (joined.reason, joined.events, joined.position.offset) == (NotResumable.EXPIRED, (), 310)


# What happens meanwhile


async def test_events_during_the_read_are_in_the_answer_or_after_it(door: Door) -> None:
    """A join whose read takes a while loses nothing and repeats nothing of what is written meanwhile."""
    await door.write(RING_LIMIT + 50)
    await door.replica.hub.host(ROOM)
    gate = door.log.after = Gate()
    joining = asyncio.create_task(door.join(Position(await door.epoch(), 10)))
    await gate.reached.wait()
    await door.write(20)
    gate.open()
    joined = await joining
    last = RING_LIMIT + 70
    assert offsets(joined.events) == [*range(11, last + 1)]
    assert door.inbox == []
    await door.write(1)
    assert offsets(door.inbox) == [last + 1]


async def test_a_ring_that_overflows_during_the_read_costs_another_read(door: Door) -> None:
    """Where more than a ring of events came during one read, log and ring do not meet: it is read again."""
    await door.write(RING_LIMIT + 10)
    await door.replica.hub.host(ROOM)
    reads = door.log.reads

    async def overflow() -> None:
        door.log.after = at_once
        await door.write(RING_LIMIT + 1)

    door.log.after = overflow
    joined = await door.join(Position(await door.epoch(), 0))
    assert offsets(joined.events) == [*range(1, 2 * RING_LIMIT + 12)]
    assert door.log.reads == reads + 2


@pytest.mark.parametrize("busy_reads", [REPLAY_READS - 1, REPLAY_READS])
async def test_a_channel_that_is_too_fast_to_replay_is_overloaded(door: Door, busy_reads: int) -> None:
    """The last of `REPLAY_READS` reads still counts; after it the join gives up, and the session stays out."""
    await door.write(RING_LIMIT * 2)
    await door.replica.hub.host(ROOM)
    left = busy_reads

    async def overflow() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            await door.write(RING_LIMIT + 1)

    door.log.after = overflow
    joining = door.join(history=RING_LIMIT + 100)
    if busy_reads < REPLAY_READS:
        assert len((await joining).events) == RING_LIMIT + 100
    else:
        with pytest.raises(Overloaded, match="'room:1'"):
            await joining
        assert door.replica.transport.members(ROOM) == []


async def test_a_client_that_knows_more_than_the_hub_is_served(door: Door) -> None:
    """Another replica told it of events whose hints are yet to come here: the hub asks the log first, then serves."""
    await door.write(3)
    bob = SessionId("bob's")
    in_room = door.replica.transport.connect(bob)
    await door.replica.subscriptions.join(bob, identity("bob"), ROOM, ignored)
    await door.write(2, hinted=False)
    joined = await door.join(Position(await door.epoch(), 5))
    assert joined == Joined(Position(await door.epoch(), 5), None, ())
    assert offsets(in_room) == [4, 5]


async def test_a_hub_that_is_more_than_one_read_behind_is_not_mistaken_for_an_older_log(door: Door) -> None:
    """However far the hub has to go to the client's position, the client is not told that it is ahead of the log."""
    await door.join()
    await door.write(REPLAY_LIMIT * 2 + 5, hinted=False)
    joined = await door.join(Position(await door.epoch(), REPLAY_LIMIT * 2 + 5))
    assert joined.reason is None


async def test_a_position_of_another_epoch_costs_the_read_that_opens_the_channel(door: Door) -> None:
    """That read came after the client's events; a channel that was open before is compared with the log."""
    await door.write(3)
    reads = door.log.reads
    joined = await door.join(Position("another", 7))
    assert (joined.position.offset, joined.reason) == (3, NotResumable.EPOCH_CHANGED)
    assert door.log.reads == reads + 1
    await door.join(Position("another", 7))
    assert door.log.reads > reads + 1


async def test_a_log_that_is_lost_during_the_read_is_a_changed_epoch(door: Door) -> None:
    """The hub learns of the new epoch from the join's read; the answer is the new log's position, whole."""
    await door.write(RING_LIMIT + 10)
    await door.replica.hub.host(ROOM)
    since = Position(await door.epoch(), 0)

    async def lose() -> None:
        door.log.before = at_once
        door.memory.forget(ROOM)
        await door.write(3, hinted=False)

    door.log.before = lose
    joined = await door.join(since, history=2)
    assert joined.position == Position(await door.epoch(), 3)
    assert (joined.reason, offsets(joined.events)) == (NotResumable.EPOCH_CHANGED, [2, 3])


async def test_a_log_that_is_lost_between_two_reads_leaves_nothing_of_the_old_one(door: Door) -> None:
    """What the first read gave is thrown away where the second finds another log, even where the offsets would fit."""
    size, history = RING_LIMIT * 2, RING_LIMIT + 50
    await door.write(size)
    await door.replica.hub.host(ROOM)

    async def overflow() -> None:
        door.log.after = at_once
        await door.write(RING_LIMIT + 1)
        door.log.before = lose

    async def lose() -> None:
        door.log.before = at_once
        door.memory.forget(ROOM)
        await door.write(size, hinted=False)

    door.log.after = overflow
    joined = await door.join(history=history)
    assert joined.position == Position(await door.epoch(), size)
    assert {orjson.loads(event.json)["epoch"] for event in joined.events} == {await door.epoch()}
    assert len(joined.events) == history


async def test_the_ring_does_not_outlive_its_log(door: Door) -> None:
    """Once the hub has found another log, a history comes from that one, even where the old offsets would fit."""
    await door.write(5)
    await door.join()
    door.memory.forget(ROOM)
    await door.write(5, hinted=False)
    door.link.arrive(LinkRestored())
    await turns(10)
    joined = await door.join(history=3)
    assert {orjson.loads(event.json)["epoch"] for event in joined.events} == {await door.epoch()}
    assert offsets(joined.events) == [3, 4, 5]


async def test_a_log_that_came_back_older_is_ahead_of_log(door: Door) -> None:
    """A client that has seen what the log has lost within an epoch is told so, and starts over from the head."""
    await door.write(3)
    older = copy.deepcopy(door.log.inner)
    await door.write(2)
    since = Position(await door.epoch(), 5)
    door.log.inner = older
    assert await door.join(since) == Joined(Position(since.epoch, 3), NotResumable.AHEAD_OF_LOG, ())


# Who may, and how much


async def test_who_may_not_join_gets_nothing(door: Door) -> None:
    """Without the grant nothing is hosted, read or entered."""
    with pytest.raises(PermissionDenied):
        await door.join(who=identity(grants={"room:*": ["send"]}))
    assert (door.log.reads, door.replica.hub.hosted, door.replica.transport.channels(HERS)) == (0, 0, [])


async def test_a_session_is_in_so_many_channels(door: Door) -> None:
    """The one too many is refused; joining again one that it is in is not, and leaving makes room."""
    subscriptions = door.replica.subscriptions
    rooms = [ChannelName(f"room:{number}") for number in range(MAX_CHANNELS + 1)]
    for room in rooms[:-1]:
        await subscriptions.join(HERS, ALICE, room, ignored)
    await subscriptions.join(HERS, ALICE, rooms[0], ignored)
    with pytest.raises(TooManyChannels) as refused:
        await subscriptions.join(HERS, ALICE, rooms[-1], ignored)
    assert refused.value.details == {"limit": MAX_CHANNELS}
    subscriptions.leave(HERS, rooms[0])
    await subscriptions.join(HERS, ALICE, rooms[-1], ignored)
    assert [*door.replica.transport.channels(HERS)] == rooms[1:]


async def test_a_resume_of_too_many_channels_tells_of_each(door: Door) -> None:
    """Every channel that is named is told of once: those beyond the bound are removed, with the reason."""
    rooms = [ChannelName(f"room:{number}") for number in range(MAX_CHANNELS + 2)]
    await door.replica.subscriptions.resume(HERS, ALICE, {room: Position("another", 1) for room in rooms})
    told = [push for push in door.inbox if isinstance(push, ChannelResumed | ChannelRemoved)]
    assert [push.channel for push in told] == rooms
    assert [*door.replica.transport.channels(HERS)] == rooms[:MAX_CHANNELS]
    assert told[MAX_CHANNELS:] == [ChannelRemoved(room, TooManyChannels) for room in rooms[MAX_CHANNELS:]]


async def test_a_log_that_is_away_fails_the_join_alone(door: Door) -> None:
    """`Unavailable`, and the session is not in the channel; the next try is as good as new."""
    door.log.error = Unavailable("away")
    with pytest.raises(Unavailable, match="away"):
        await door.join()
    assert door.replica.transport.members(ROOM) == []
    door.log.error = None
    assert (await door.join()).position.offset == 0


@pytest.mark.parametrize("hosted", [False, True])
async def test_a_log_that_hangs_fails_the_join_in_time(door: Door, hosted: bool) -> None:
    """A client waits less than 2 s for a join, be it the opening or the replay that hangs."""
    await door.write(RING_LIMIT + 10)
    since = Position(await door.epoch(), 0)
    if hosted:
        await door.replica.hub.host(ROOM)
    door.log.before = Gate()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await door.join(since)
    assert asyncio.get_running_loop().time() - began < 2.0
    assert door.replica.transport.members(ROOM) == []


async def test_a_session_that_is_gone_by_then_is_not_a_member(door: Door) -> None:
    """A join that ends after its session did leaves no ghost in the channel."""
    gate = door.log.after = Gate()
    joining = asyncio.create_task(door.join())
    await gate.reached.wait()
    door.replica.transport.disconnect(HERS)
    gate.open()
    with pytest.raises(Unauthenticated):
        await joining
    assert door.replica.transport.members(ROOM) == []


async def test_a_session_that_is_gone_costs_no_further_read(door: Door) -> None:
    """A session that ends while the missed events are read is not served: neither by another read, nor by an answer."""
    await door.write(RING_LIMIT + 10)
    await door.replica.hub.host(ROOM)
    reads = door.log.reads

    async def leave() -> None:
        door.replica.transport.disconnect(HERS)

    door.log.after = leave
    with pytest.raises(Unauthenticated):
        await door.join(Position(await door.epoch(), 0))
    assert door.log.reads == reads + 1
    assert door.replica.transport.members(ROOM) == []


async def test_a_resume_ends_with_its_session(door: Door) -> None:
    """A client that is gone during its resume costs the channel that is being opened, and none of the others."""
    rooms = [ChannelName(f"room:{number}") for number in range(500)]
    gate = door.log.after = Gate()
    resuming = asyncio.create_task(
        door.replica.subscriptions.resume(HERS, ALICE, dict.fromkeys(rooms, Position("e", 1)))
    )
    await gate.reached.wait()
    door.replica.transport.disconnect(HERS)
    gate.open()
    await resuming
    await turns(20)
    assert (door.log.reads, door.replica.hub.hosted, door.inbox) == (1, 1, [])


async def test_a_resume_that_waits_for_its_turn_ends_with_its_connection(door: Door) -> None:
    """It does not keep its place until the turn comes; for a session that does not resume nothing is to be done."""
    subscriptions = door.replica.subscriptions
    door.log.after = Gate()
    others = [SessionId(f"other-{number}") for number in range(RESUMES)]
    for session in others:
        door.replica.transport.connect(session)
    busy = [asyncio.create_task(subscriptions.resume(other, ALICE, {ROOM: Position("e", 1)})) for other in others]
    await turns(5)
    resuming = asyncio.create_task(subscriptions.resume(HERS, ALICE, {ROOM: Position("e", 1)}))
    await turns(5)
    door.replica.transport.disconnect(HERS)
    assert not resuming.done()
    subscriptions.gone(HERS)
    await resuming
    subscriptions.gone(HERS)
    assert not any(task.done() for task in busy)
    door.log.after.open()
    await asyncio.gather(*busy)


async def test_a_resume_opens_some_channels_together(door: Door) -> None:
    """And waits for none of them for long: a read that hangs is waited for once, by the join of its channel."""
    rooms = [ChannelName(f"room:{number}") for number in range(3)]
    resume = door.replica.subscriptions.resume
    await resume(HERS, ALICE, dict.fromkeys(rooms[:1], Position("e", 1)))
    gate = Gate()
    door.log.before = gate
    resuming = asyncio.create_task(resume(HERS, ALICE, dict.fromkeys(rooms, Position("e", 1))))
    await gate.reached.wait()
    await turns(5)
    assert door.replica.hub.hosted == 1
    gate.open()
    await resuming
    await resume(HERS, ALICE, dict.fromkeys(rooms, Position("e", 1)))  # nothing is left to be opened
    assert [pushed.channel for pushed in door.inbox if isinstance(pushed, ChannelResumed)] == [rooms[0], *rooms, *rooms]


async def test_a_resume_waits_for_a_reader(door: Door) -> None:
    """After `PACED_BYTES` of replays, and not after each channel."""
    await door.write(100, text="x" * 2_000)
    epoch = await door.epoch()
    await door.replica.subscriptions.resume(HERS, ALICE, {ROOM: Position(epoch, 0)})
    assert door.replica.transport.waited_for == [HERS]
    await door.replica.subscriptions.resume(HERS, ALICE, {ROOM: Position(epoch, 100)})
    assert door.replica.transport.waited_for == [HERS]


async def test_a_join_of_a_channel_that_is_released_meanwhile_opens_it_again(door: Door) -> None:
    """A channel may be released between its opening and the join's end, if very many others are asked for."""
    await door.write(3)
    hosted = await door.replica.hub.host(ROOM)
    since = Position(await door.epoch(), 0)

    async def crowd() -> None:
        door.log.after = at_once
        for number in range(EMPTY_LIMIT + 1):
            await door.replica.hub.host(ChannelName(f"crowd:{number}"))

    door.log.after = crowd
    assert offsets((await door.join(since)).events) == [1, 2, 3]
    assert hosted.released
    await door.write(1)
    assert offsets(door.inbox) == [4]


async def test_who_has_left_gets_no_more(door: Door) -> None:
    """After leaving nothing is delivered; leaving twice, or what was never joined, is no error."""
    await door.join()
    door.replica.subscriptions.leave(HERS, ROOM)
    door.replica.subscriptions.leave(HERS, ROOM)
    door.replica.subscriptions.leave(HERS, ChannelName("elsewhere"))
    await door.write(2)
    assert door.inbox == []


# Resuming and confining


async def test_a_resume_tells_of_each_channel_in_the_order_it_was_asked(door: Door) -> None:
    """Recovered with what was missed, restarted with the reason, or removed with the error; and then live events."""
    await door.write(3)
    epoch = await door.epoch()
    busy = ChannelName("room:2")
    await door.log.inner.append(new_message(9_000, busy))
    who = identity(grants={"room:*": ["join"]})
    positions: Mapping[ChannelName, Position] = {
        ROOM: Position(epoch, 1),
        ChannelName("secret"): Position(epoch, 1),
        busy: Position("another", 7),
    }
    await door.replica.subscriptions.resume(HERS, who, positions)
    recovered, removed, restarted = door.inbox
    assert isinstance(recovered, ChannelResumed)
    assert (recovered.channel, recovered.position, recovered.reason) == (ROOM, Position(epoch, 3), None)
    assert offsets(recovered.events) == [2, 3]
    assert removed == ChannelRemoved(ChannelName("secret"), PermissionDenied)
    assert isinstance(restarted, ChannelResumed)
    assert (restarted.channel, restarted.position.offset, restarted.reason, [*restarted.events]) == (
        busy,
        1,
        NotResumable.EPOCH_CHANGED,
        [],
    )
    await door.write(1)
    assert offsets(door.inbox[3:]) == [4]


async def test_a_resume_that_finds_the_log_away_says_so_for_each_channel(door: Door) -> None:
    """A log that hangs is waited for once and not 500 times; each channel is told of, and the session goes on."""
    rooms = [ChannelName(f"room:{number}") for number in range(500)]
    door.log.before = Gate()
    began = asyncio.get_running_loop().time()
    await door.replica.subscriptions.resume(HERS, ALICE, dict.fromkeys(rooms, Position("e", 1)))
    assert asyncio.get_running_loop().time() - began < 2.0
    assert door.inbox == [ChannelRemoved(room, Unavailable) for room in rooms]


async def test_a_long_resume_that_waits_for_nothing_gives_others_a_turn(door: Door) -> None:
    """Thousands of channels that need neither log nor broker do not keep the event loop to themselves."""
    rooms = [ChannelName(f"secret:{number}") for number in range(5_000)]
    others: list[str] = []
    asyncio.get_running_loop().call_soon(others.append, "ran")
    await door.replica.subscriptions.resume(HERS, ALICE, dict.fromkeys(rooms, Position("e", 1)))
    assert others == ["ran"]
    assert len(door.inbox) == len(rooms)


async def test_lost_grants_end_memberships(door: Door) -> None:
    """`apply_grants` removes the session from what it may no longer join, tells it, and leaves it in the rest."""
    other = ChannelName("ops:1")
    await door.join()
    await door.replica.subscriptions.join(HERS, ALICE, other, ignored)
    door.replica.subscriptions.apply_grants(HERS, identity(grants={"ops:*": ["join"], "room:*": ["send"]}))
    assert door.inbox == [ChannelRemoved(ROOM, PermissionDenied)]
    assert [*door.replica.transport.channels(HERS)] == [other]
    await door.write(1)
    assert len(door.inbox) == 1


async def test_the_end_of_a_session_ends_its_memberships(door: Door) -> None:
    """It receives nothing more, in none of its channels; ending it again is no error."""
    await door.join()
    door.replica.subscriptions.end(HERS)
    door.replica.subscriptions.end(HERS)
    await door.write(1)
    assert (door.inbox, door.replica.transport.channels(HERS)) == ([], [])


async def test_a_session_enters_new_channels_at_a_rate() -> None:
    """So many at once; then it is told how long to wait. Channels that are open here cost nothing, and another session
    is not concerned."""
    now = 5.0
    log = FaultyLog(MemoryMessageLog(max_events=RETENTION, max_age_ms=HOUR_MS))
    async with replica(log, Broker().link(), lambda: now) as one:
        hers, other = HERS, SessionId("another's")
        one.transport.connect(hers)
        one.transport.connect(other)

        async def visit(session: SessionId, number: int) -> None:
            name = ChannelName(f"made-up:{number}")
            await one.subscriptions.join(session, ALICE, name, ignored)
            one.subscriptions.leave(session, name)

        for number in range(NEW_CHANNELS.burst):
            await visit(hers, number)
        with pytest.raises(RateLimited) as refused:
            await visit(hers, NEW_CHANNELS.burst)
        assert refused.value.retry_after_ms == 100
        await visit(hers, NEW_CHANNELS.burst - 1)
        await visit(other, NEW_CHANNELS.burst)
        now += 0.1
        await visit(hers, NEW_CHANNELS.burst + 1)
        one.subscriptions.end(hers)
