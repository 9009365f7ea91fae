"""Presence: users enter once and leave once, whatever their sessions do."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps

import pytest

from server.application.people import entering, rosters, telling
from server.application.people.attending import UNHEARD, Attendants
from server.application.people.presence_lease import LAST_BREATH_S
from server.application.people.roster import HELD_LIMIT, HeldRoster
from server.domain.channels import ChannelName
from server.domain.errors import NotJoined, PermissionDenied, Unavailable
from server.domain.identity import SessionId, UserId
from server.domain.presence import (
    LINGER_S,
    NAMES_AGAIN,
    NAMES_LIMIT,
    SHOWN_MEMBERS,
    Departure,
    MemberJoined,
    MemberLeft,
    MembersCounted,
    Present,
    RosterChanged,
    RosterHead,
)
from server.domain.rules import PresenceDetail, Rule
from server.ports.presence import ENTRIES_AT_ONCE, RostersLost
from server.ports.replicas import RENEW_S
from tests.doubles.presence import Stage, stage
from tests.doubles.samples import ROOM, identity
from tests.doubles.virtual_time import virtually

OTHER = ChannelName("room:other")
SOON = 0.5
"""Seconds in which everything that is not away is done."""


def virtual(test: Callable[[Stage], Coroutine[object, object, None]]) -> Callable[[], None]:
    """Let a test have a stage, in virtual time."""

    @wraps(test)
    def run() -> None:
        async def scenario() -> None:
            with stage(RULES) as on:
                await test(on)

        virtually(scenario)

    del run.__wrapped__  # pytest must not see the stage as a fixture
    return run


RULES = {"count:*": Rule(presence=PresenceDetail.COUNTS), "off:*": Rule(presence=PresenceDetail.OFF)}


def told(inbox: Sequence[object]) -> list[tuple[str, str]]:
    """The users that an inbox tells of."""
    kinds = {MemberJoined: "joined", MemberLeft: "left"}
    return [(kinds[type(each)], each.user) for each in inbox if isinstance(each, MemberJoined | MemberLeft)]


def versions(inbox: Sequence[object]) -> list[int]:
    """The versions of these events."""
    return [each.head.version for each in inbox if isinstance(each, MemberJoined | MemberLeft)]


# Sessions


@virtual
async def test_a_user_is_told_once(on: Stage) -> None:
    """The first session enters the user, the last takes it out; the session that enters is told nothing of it."""
    alice = on.join("alice")
    await asyncio.sleep(SOON)
    first, second = on.join("bob"), on.join("bob", 2)
    on.join("bob", 2)
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "bob")]
    assert (told(first), told(second)) == ([], [("joined", "bob")])
    on.leave("bob")
    on.leave("bob")
    await asyncio.sleep(SOON)
    assert await on.present() == {"alice", "bob"}
    on.leave("bob", 2)
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "bob"), ("left", "bob")]
    assert versions(alice) == [2, 3]
    assert [each.head.count for each in alice if isinstance(each, MemberJoined | MemberLeft)] == [2, 1]
    assert on.metrics.told == ["joined", "joined", "left"]
    assert on.store.made("enter") == [("alice",), ("bob",)]


@pytest.mark.parametrize("departure", Departure)
def test_a_user_lingers(departure: Departure) -> None:
    """By the way in which its session has ended."""

    async def scenario() -> None:
        with stage() as on:
            alice = on.join("alice")
            on.join("bob")
            await asyncio.sleep(SOON)
            on.end("bob", departure)
            on.end("bob", departure)
            await asyncio.sleep(max(0.0, LINGER_S[departure] - SOON))
            assert told(alice)[1:] == ([] if LINGER_S[departure] else [("left", "bob")][: len(told(alice)) - 1])
            await asyncio.sleep(2 * SOON)
            assert told(alice) == [("joined", "bob"), ("left", "bob")]

    virtually(scenario)


@virtual
async def test_who_comes_back_in_time_is_not_told_of(on: Stage) -> None:
    """Also if the user goes again, and is away for less than its time again; the time begins anew."""
    alice = on.join("alice")
    on.join("bob")
    await asyncio.sleep(SOON)
    for _ in range(3):
        on.end("bob", Departure.LOST)
        await asyncio.sleep(LINGER_S[Departure.LOST] - 1)
        on.join("bob")
        await asyncio.sleep(2)
    assert told(alice) == [("joined", "bob")]
    on.end("bob", Departure.LOST)
    on.join("bob", 2)
    on.leave("bob", 2)
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "bob"), ("left", "bob")]


@virtual
async def test_who_comes_back_as_the_store_is_told_stays(on: Stage) -> None:
    """A user that returns while its leaving is under way is entered again behind it."""
    on.join("alice")
    on.join("bob")
    await asyncio.sleep(SOON)
    on.store.slow_s = 0.2
    on.leave("bob")
    await asyncio.sleep(0.1)
    on.join("bob", 2)
    await asyncio.sleep(2 * SOON)
    assert await on.present() == {"alice", "bob"}
    assert on.store.made("leave") == [("bob",)]


@virtual
async def test_some_are_told_nothing(on: Stage) -> None:
    """Sessions that joined so, until they join again; and those that said so in their CONNECT."""
    alice = on.join("alice", told=False)
    on.presences.hush(SessionId("carol/1"), (ROOM,))
    on.presences.hush(SessionId("dave/1"), ())
    carol, dave = on.join("carol", told=None), on.join("dave", told=None)
    on.join("bob")
    await asyncio.sleep(SOON)
    assert (told(alice), told(carol)) == ([], [])
    assert ("joined", "bob") in told(dave)
    on.join("alice")
    on.join("erin")
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "erin")]
    on.end("carol", Departure.LEFT)
    on.leave("alice")
    assert await on.present() >= {"bob", "dave"}


@virtual
async def test_a_session_that_never_came_is_no_fault(on: Stage) -> None:
    """Nor is one that leaves a channel in which it was not."""
    on.leave("nobody")
    on.join("alice")
    on.leave("alice", channel=OTHER)
    on.end("nobody", Departure.LOST)
    await asyncio.sleep(SOON)
    assert await on.present() == {"alice"}


# Reading


@virtual
async def test_a_session_that_ends_while_it_is_taken_out_is_no_ghost(on: Stage) -> None:
    """A channel that is restarted takes its members out without a word, and back. Some end between the two."""
    alice = on.join("alice")
    for tab in (1, 2):
        on.join("bob", tab)
    on.join("bob", channel=OTHER)
    await asyncio.sleep(SOON)
    on.transport.leave(SessionId("bob/1"), ROOM)
    on.end("bob", Departure.LEFT)
    on.end("bob", Departure.LEFT, tab=2)
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "bob"), ("left", "bob")]
    assert await on.present() == {"alice"}
    assert await on.present(OTHER) == set()


@virtual
async def test_a_session_that_has_read_is_told_of_its_own_user(on: Stage) -> None:
    """If its replica was taken for dead, it is told that its user has left, and that it is there again."""
    await on.memory.enter(ROOM, {UserId("alice"): None})
    alice = on.join("alice")
    await on.read("alice")
    await on.memory.leave(ROOM, [UserId("alice")])
    await asyncio.sleep(SOON)
    assert told(alice) == [("left", "alice"), ("joined", "alice")]


@virtual
async def test_a_member_is_shown_all(on: Stage) -> None:
    """Those that are there longest first, the asker among them, although it has only just joined; later changes have
    higher versions, without a hole. The store is read once."""
    for user in ("alice", "bob"):
        on.join(user)
        await asyncio.sleep(SOON)
    carol = on.join("carol")
    shown = await on.read("carol")
    assert [present.user for present in shown.members] == ["alice", "bob", "carol"]
    assert (shown.head.version, shown.head.count, shown.complete) == (3, 3, True)
    on.join("dave")
    on.leave("alice")
    await asyncio.sleep(SOON)
    assert versions(carol) == [4, 5]
    again = await on.read("bob")
    assert (again.head.version, {present.user for present in again.members}) == (5, {"bob", "carol", "dave"})
    assert len(on.store.made("read")) == len(on.presences.rosters) == 1


@virtual
async def test_who_is_not_there_is_shown_nothing(on: Stage) -> None:
    """Nor is anybody where presence is off."""
    on.join("alice")
    on.join("alice", channel=ChannelName("off:1"))
    with pytest.raises(NotJoined):
        await on.read("alice", channel=OTHER)
    with pytest.raises(PermissionDenied):
        await on.read("alice", channel=ChannelName("off:1"))
    await asyncio.sleep(SOON)
    assert await on.present(ChannelName("off:1")) == set()
    on.leave("alice", channel=ChannelName("off:1"))


@virtual
async def test_who_leaves_while_it_asks_is_not_joined(on: Stage) -> None:
    """The roster is not followed any longer then; what was read for it is dropped."""
    on.store.reading.clear()
    on.join("alice")
    asking = asyncio.create_task(on.read("alice"))
    await asyncio.sleep(SOON)
    on.leave("alice")
    with pytest.raises(NotJoined):
        await asking
    on.store.reading.set()
    await asyncio.sleep(SOON)
    assert len(on.presences.rosters) == 0


@virtual
async def test_nothing_is_shown_while_the_store_is_away(on: Stage) -> None:
    """At once if that is known; else in time. Two that ask wait together."""
    on.join("alice")
    on.join("alice", 2)
    on.store.away = True
    asked = await asyncio.gather(on.read("alice"), on.read("alice", 2), return_exceptions=True)
    assert [type(error) for error in asked] == [Unavailable, Unavailable]
    await asyncio.sleep(RENEW_S)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await on.read("alice")
    assert asyncio.get_running_loop().time() == began
    on.store.away = False
    await asyncio.sleep(2)
    assert (await on.read("alice")).head.count == 1
    on.linked[0] = False
    with pytest.raises(Unavailable):
        await on.read("alice")


# Changes that are lost


@virtual
async def test_a_hole_is_read_and_told(on: Stage) -> None:
    """If a change is missing before another, the roster is read, and members are told of the difference; the next
    change follows."""
    alice = on.join("alice")
    on.join("zoe")
    await on.read("alice")
    on.store.lossy = True
    on.join("bob")
    on.leave("zoe")
    await asyncio.sleep(SOON)
    on.store.lossy = False
    on.join("carol")
    await asyncio.sleep(SOON)
    on.join("dave")
    await asyncio.sleep(SOON)
    assert sorted(told(alice)[-4:]) == [("joined", "bob"), ("joined", "carol"), ("joined", "dave"), ("left", "zoe")]
    assert versions(alice)[-4:] == [3, 4, 5, 6]
    assert on.metrics.holes == 1
    assert (await on.read("alice")).head.version == 6


@virtual
async def test_a_last_change_that_is_lost_is_found(on: Stage) -> None:
    """The roster is compared with the store every now and then, if it has an answer."""
    alice = on.join("alice")
    await on.read("alice")
    on.store.lossy = True
    on.join("bob")
    await asyncio.sleep(SOON)
    on.store.away = True
    await asyncio.sleep(rosters.COMPARE_S)
    on.store.away = False
    await asyncio.sleep(rosters.COMPARE_S + 2)
    assert told(alice) == [("joined", "bob")]


@virtual
async def test_a_store_that_has_gone_back_is_told(on: Stage) -> None:
    """Nothing is told by an older roster: it gets a new epoch first, since its versions have been given before."""
    alice = on.join("alice")
    on.join("bob")
    head = (await on.read("alice")).head
    on.store.seen.clear()
    on.store.back = 1
    on.presences.rosters.doubt_all()
    await asyncio.sleep(1)
    assert set(on.store.seen) == {head}
    on.store.seen.clear()
    assert (await on.read("alice")).head == head
    on.store.back = 1
    await asyncio.sleep(rosters.COMPARE_S + 1)
    assert set(on.store.seen) == {head}
    assert told(alice) == [("joined", "bob")]


@virtual
async def test_changes_come_twice_or_late(on: Stage) -> None:
    """A change that is known already is dropped; changes of channels that are not followed, too."""
    alice = on.join("alice")
    await on.read("alice")
    head = RosterHead((await on.read("alice")).head.epoch, 2, 2)
    bob = Present(UserId("bob"), None, 0)
    for _ in range(2):
        on.store.hear(RosterChanged(ROOM, head, (), (bob,)))
    on.store.hear(RosterChanged(OTHER, head, (), (bob,)))
    await asyncio.sleep(SOON)
    assert told(alice) == [("joined", "bob")]


@virtual
async def test_changes_are_held_while_the_store_is_read(on: Stage) -> None:
    """What the read has is dropped, the rest follows; if something is missing, the store is read again."""
    on.join("alice")
    await asyncio.sleep(SOON)
    on.store.reading.clear()
    asking = asyncio.create_task(on.read("alice"))
    on.join("bob")
    await asyncio.sleep(0.2)
    on.store.lossy = True
    on.join("carol")
    await asyncio.sleep(0.2)
    on.store.lossy = False
    on.join("dave")
    await asyncio.sleep(0.2)
    on.store.reading.set()
    shown = await asking
    assert (shown.head.version, shown.head.count) == (4, 4)
    assert len(on.store.made("read")) == 2


@virtual
async def test_too_many_changes_are_not_held(on: Stage) -> None:
    """The store is read again in their place."""
    alice = on.join("alice")
    await on.read("alice")
    on.store.reading.clear()
    on.store.hear(RostersLost())
    await asyncio.sleep(SOON)
    for number in range(HELD_LIMIT + 1):
        if number % 2:
            await on.memory.leave(ROOM, [UserId("bob")])
        else:
            await on.memory.enter(ROOM, {UserId("bob"): None})
        await asyncio.sleep(0)
    await asyncio.sleep(SOON)
    on.store.reading.set()
    on.join("erin")
    await asyncio.sleep(2)
    assert (await on.read("alice")).members[-1].user == "erin"
    assert told(alice)[-1] == ("joined", "erin")
    assert len(on.store.made("read")) == 3


@virtual
async def test_a_user_that_the_store_has_lost_is_entered_again(on: Stage) -> None:
    """If a read shows that it is missing. Its own sessions are told that it left and came."""
    alice = on.join("alice")
    on.join("bob")
    await on.read("alice")
    await on.memory.leave(ROOM, [UserId("bob")])
    await asyncio.sleep(SOON)
    on.store.hear(RostersLost())
    await asyncio.sleep(SOON)
    assert await on.present() == {"alice", "bob"}
    assert told(alice)[-2:] == [("left", "bob"), ("joined", "bob")]
    on.store.lossy = True
    await on.memory.leave(ROOM, [UserId("bob")])
    await asyncio.sleep(SOON)
    on.store.lossy = False
    await asyncio.sleep(rosters.COMPARE_S + 2)
    assert await on.present() == {"alice", "bob"}


# The store


@virtual
async def test_the_store_is_told_when_it_is_back(on: Stage) -> None:
    """Nobody waits for it; what has changed meanwhile counts, and no detour is told."""
    alice = on.join("alice")
    await asyncio.sleep(SOON)
    on.store.away = True
    on.join("bob")
    on.join("carol")
    await asyncio.sleep(3)
    on.leave("carol")
    await asyncio.sleep(3)
    assert on.presences.entering.waiting == 2
    on.store.away = False
    await asyncio.sleep(3)
    assert (on.presences.entering.waiting, await on.present()) == (0, {"alice", "bob"})
    assert told(alice) == [("joined", "bob")]


@virtual
async def test_a_fault_costs_one_channel(on: Stage) -> None:
    """And no more; the next change of the channel is another try."""
    on.store.fault = ValueError("a fault")
    on.join("alice")
    await asyncio.sleep(SOON)
    on.store.fault = None
    on.join("bob")
    await asyncio.sleep(SOON)
    assert await on.present() == {"bob"}
    await on.read("bob")
    await asyncio.sleep(SOON)
    assert await on.present() == {"alice", "bob"}, "the read has shown that one was missing"


@virtual
async def test_a_lost_lease_enters_all_again(on: Stage) -> None:
    """A lease that had ended is as good as a lost link."""
    on.join("alice")
    on.join("bob", channel=OTHER)
    await asyncio.sleep(SOON)
    on.store.held = False
    await asyncio.sleep(RENEW_S)
    assert on.store.made("enter") == [("alice",), ("bob",)] * 2


@virtual
async def test_a_drain_hands_over(on: Stage) -> None:
    """The entries get a last while, and the lease is not renewed any more; a store that is away takes half a second."""
    on.join("alice")
    await asyncio.sleep(SOON)
    await on.presences.lease.hand_over()
    assert on.store.handed_over == LAST_BREATH_S
    renewals = len(on.store.made("renew"))
    await asyncio.sleep(3 * RENEW_S)
    assert len(on.store.made("renew")) == renewals
    on.store.slow_s = 5
    began = asyncio.get_running_loop().time()
    await on.presences.lease.hand_over()
    assert asyncio.get_running_loop().time() - began <= 0.5


@virtual
async def test_entries_are_paced_and_batched(on: Stage) -> None:
    """A herd is entered by a thousand at once, and at the pace of `ENTRIES_PER_S`, and nobody is entered twice."""
    count = 30_000
    for number in range(count):
        on.join(f"user-{number}")
    assert on.presences.entering.waiting == count
    await asyncio.sleep(count / entering.ENTRIES_PER_S / 2)
    assert len(await on.present()) < 0.7 * count
    await asyncio.sleep(count / entering.ENTRIES_PER_S / 2 + SOON)
    assert len(await on.present()) == count
    assert [len(users) for users in on.store.made("enter")] == [ENTRIES_AT_ONCE] * (count // ENTRIES_AT_ONCE)


def test_the_queue_is_bounded() -> None:
    """Beyond it, the channel that has waited longest is entered as a whole, and tells counts until few are there."""

    async def scenario() -> None:
        with stage(limit=3) as on:
            alice = on.join("alice")
            on.join("bob")
            on.join("carol", channel=OTHER)
            on.join("dave", channel=OTHER)
            assert on.presences.entering.waiting == 4
            on.join("erin")
            assert on.presences.entering.waiting == 5
            await asyncio.sleep(telling.COUNT_S + SOON)
            assert (await on.present(), await on.present(OTHER)) == ({"alice", "bob", "erin"}, {"carol", "dave"})
            assert counts(alice) == [(3, True)]
            on.presences.rosters.count_only(ChannelName("room:nowhere"))

    virtually(scenario)


@virtual
async def test_few_calls_are_under_way(on: Stage) -> None:
    """However many channels wait, and however slow the store is."""
    on.store.slow_s = 1
    for number in range(entering.CALLS + 5):
        on.join("alice", channel=ChannelName(f"room:{number}"))
    await asyncio.sleep(SOON)
    assert len(on.store.made("enter")) == entering.CALLS
    await asyncio.sleep(2)
    assert len(on.store.made("enter")) == entering.CALLS + 5


# Counts


def counts(inbox: Sequence[object]) -> list[tuple[int, bool]]:
    """What an inbox tells of counts."""
    return [(each.head.count, each.names) for each in inbox if isinstance(each, MembersCounted)]


async def crowd(on: Stage, first: int, end: int) -> None:
    """Let many users join, and be entered."""
    for number in range(first, end):
        on.join(f"user-{number}")
    await asyncio.sleep(SOON)


@virtual
async def test_a_large_channel_is_counted(on: Stage) -> None:
    """Beyond `NAMES_LIMIT` a count is told, at most one a second; below `NAMES_AGAIN` names are told again."""
    alice = on.join("alice")
    await on.read("alice")
    await crowd(on, 0, NAMES_LIMIT - 1)
    assert len(told(alice)) == NAMES_LIMIT - 1
    assert len((await on.read("alice")).members) == NAMES_LIMIT
    await crowd(on, NAMES_LIMIT, NAMES_LIMIT + 50)
    for number in range(20):
        on.join(f"late-{number}")
        await asyncio.sleep(0.2)
    await asyncio.sleep(telling.COUNT_S)
    assert len(told(alice)) == NAMES_LIMIT - 1
    assert counts(alice)[-1] == (NAMES_LIMIT + 70, False)
    assert len(counts(alice)) <= 7, "in some 5 s"
    for number in range(NAMES_LIMIT - 1):
        on.leave(f"user-{number}")
    await asyncio.sleep(telling.COUNT_S + SOON)
    assert counts(alice)[-1] == (71, True)
    assert len((await on.read("alice")).members) == 71 < NAMES_AGAIN


@virtual
async def test_many_that_ask_for_a_count_cost_one_read(on: Stage) -> None:
    """They are shown the hundred that are there longest."""
    await crowd(on, 0, NAMES_LIMIT + 20)
    shown = await asyncio.gather(*(on.read(f"user-{number}") for number in range(20)))
    expected = (SHOWN_MEMBERS, NAMES_LIMIT + 20, False)
    assert {(len(each.members), each.head.count, each.complete) for each in shown} == {expected}
    assert len(on.store.made("read")) == 1


@virtual
async def test_a_large_roster_is_not_read_to_its_end(on: Stage) -> None:
    """If the first who asks finds the channel large, counts are told from then on. A lost count is found, too."""
    users: dict[UserId, str | None] = {UserId(f"user-{number}"): None for number in range(NAMES_LIMIT + 1)}
    on.store.lossy = True
    await on.memory.enter(ROOM, users)
    alice = on.join("alice")
    await asyncio.sleep(SOON)
    shown = await on.read("alice")
    assert (len(shown.members), shown.head.count, shown.complete) == (SHOWN_MEMBERS, NAMES_LIMIT + 2, False)
    await asyncio.sleep(telling.COUNT_S + SOON)
    await on.memory.enter(ROOM, {UserId("lost"): None})
    await asyncio.sleep(rosters.COMPARE_S + 2)
    assert counts(alice)[-1] == (NAMES_LIMIT + 3, False)


@virtual
async def test_counts_by_rule(on: Stage) -> None:
    """Nobody is named, however few there are."""
    channel = ChannelName("count:1")
    alice = on.join("alice", channel=channel)
    on.join("bob", channel=channel)
    await asyncio.sleep(telling.COUNT_S + SOON)
    shown = await on.read("alice", channel=channel)
    assert (shown.members, shown.head.count, shown.complete) == ((), 2, False)
    assert (told(alice), counts(alice)) == ([], [(2, False)])
    on.leave("bob", channel=channel)
    await asyncio.sleep(0.1)
    on.leave("alice", channel=channel)
    await asyncio.sleep(telling.COUNT_S + SOON)
    assert counts(alice) == [(2, False)]


class Settling:
    """Lets nothing go out until `gate` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waits = 0

    async def __call__(self) -> None:
        self.waits += 1
        await self.gate.wait()


MANY: dict[UserId, str | None] = {UserId(f"user-{number}"): None for number in range(100)}


@virtual
async def test_many_are_told_in_turns(on: Stage) -> None:
    """What was told goes out in between. In the meantime members are shown what was told."""
    alice = on.join("alice")
    await on.read("alice")
    on.transport.settling = settling = Settling()
    await on.memory.enter(ROOM, MANY)
    await asyncio.sleep(SOON)
    assert (settling.waits, len(told(alice))) == (1, telling.TOLD_AT_ONCE)
    assert len((await on.read("alice")).members) == telling.TOLD_AT_ONCE + 1
    settling.gate.set()
    await asyncio.sleep(SOON)
    assert versions(alice) == [*range(2, 102)]


@virtual
async def test_a_read_ends_what_is_being_told(on: Stage) -> None:
    """It has the rest, of which members are told in its place; or they are gone meanwhile."""
    alice = on.join("alice")
    await on.read("alice")
    on.transport.settling = settling = Settling()
    await on.memory.enter(ROOM, MANY)
    await asyncio.sleep(SOON)
    on.presences.rosters.doubt_all()
    settling.gate.set()
    await asyncio.sleep(SOON)
    assert versions(alice) == [*range(2, 102)]
    settling.gate.clear()
    await on.memory.leave(ROOM, [*MANY])
    await asyncio.sleep(SOON)
    on.leave("alice")
    settling.gate.set()
    await asyncio.sleep(SOON)
    assert len(told(alice)) == 100 + telling.TOLD_AT_ONCE


@virtual
async def test_a_roster_that_is_left_is_not_read(on: Stage) -> None:
    """Also if its read was due; and one that tells counts by then needs none."""
    on.join("alice")
    await asyncio.sleep(SOON)
    asking = asyncio.create_task(on.read("alice"))
    await asyncio.sleep(0)
    on.leave("alice")
    with pytest.raises(NotJoined):
        await asking
    assert on.store.made("read") == []
    on.join("alice", 2)
    on.store.reading.clear()
    asking = asyncio.create_task(on.read("alice", 2))
    await asyncio.sleep(SOON)
    on.presences.rosters.count_only(ROOM)
    on.store.reading.set()
    assert (await asking).complete is False
    await asyncio.sleep(SOON)
    assert len(on.presences.rosters) == 0


@virtual
async def test_a_comparison_reads_what_differs_alone(on: Stage) -> None:
    """Not what is the same, nor what is being read, or left, by the time of its answer."""
    for number in range(3):
        on.join("alice", channel=ChannelName(f"room:{number}"))
        await on.read("alice", channel=ChannelName(f"room:{number}"))
    on.store.lossy = True
    for number in range(2):
        await on.memory.enter(ChannelName(f"room:{number}"), {UserId("bob"): None})
    on.store.slow_s = 1
    await asyncio.sleep(rosters.COMPARE_S)
    on.leave("alice", channel=ChannelName("room:0"))
    on.store.hear(RostersLost())
    await asyncio.sleep(5)
    assert len(on.store.made("read")) == 5


async def test_an_asker_is_woken_once() -> None:
    """However much changes before its turn."""
    roster = HeldRoster(ROOM, counts_only=False)
    asking = asyncio.create_task(roster.joined(UserId("alice")))
    await asyncio.sleep(0)
    roster.wake(UserId("alice"))
    roster.wake_all()
    await asking
    twice = [asyncio.create_task(roster.joined(UserId("alice"))) for _ in range(3)]
    await asyncio.sleep(0)
    twice[0].cancel()
    await asyncio.sleep(0)
    assert len(roster.askers[UserId("alice")]) == 2
    roster.wake_all()
    await asyncio.gather(*twice[1:])
    assert roster.askers == {}


@virtual
async def test_several_attend(on: Stage) -> None:
    """Each is told of all."""
    attendants = Attendants(UNHEARD, on.presences)
    session = SessionId("carol/1")
    inbox = on.transport.connect(session)
    attendants.hush(session, (ROOM,))
    on.transport.enter(session, ROOM)
    attendants.entered(session, identity("carol"), ROOM, None)
    on.join("alice")
    await asyncio.sleep(SOON)
    assert (inbox, await on.present()) == ([], {"alice", "carol"})
    attendants.left(session, ROOM)
    attendants.ended(session, (), Departure.LOST)
    await asyncio.sleep(SOON)
    assert await on.present() == {"alice"}
