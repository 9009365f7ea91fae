"""Reacting: who may, that it is a set, that its event is hinted at, and that nobody waits for ever."""

import asyncio
from dataclasses import dataclass, field

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.reactions import MemoryReactions
from server.application.deadline import COMMAND_DEADLINE_S
from server.application.limits.fresh_channels import FreshChannels
from server.application.messages.writing import Writing
from server.application.outside.denials import Denials
from server.application.people.payloads import React
from server.application.people.reacting import Reacting
from server.domain.appending import Settled
from server.domain.control import Denial
from server.domain.drafts import Deletion, Reaction
from server.domain.errors import Conflict, NotFound, PermissionDenied, RateLimited, Unavailable
from server.domain.events import ReactionChanged
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.messages import Position
from server.domain.rates import Bucket
from server.domain.reactions import Reacted
from server.ports.reactions import Reactions
from server.ports.records import Recorded
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import Gate
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity, new_message, published, reacted, some_id
from tests.doubles.virtual_time import turns, virtually

ALICE = identity("alice")
READER = identity("reader", {"room:*": ["join"]})
LIKE = React(channel=ROOM, id=some_id(1), emoji="👍")


class Slow(Reactions):
    """Reactions behind a gate."""

    def __init__(self, inner: Reactions, gate: Gate) -> None:
        self.inner, self.gate = inner, gate

    async def react(self, reaction: Reaction) -> Settled:
        await self.gate()
        return await self.inner.react(reaction)


@dataclass
class Stage:
    """The use case over a log in memory with message 1, and a replica that hosts the room."""

    denials: Denials = field(default_factory=Denials)
    log: MemoryMessageLog = field(default_factory=lambda: MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS))
    link: BrokerLink = field(default_factory=lambda: Broker().link())

    def __post_init__(self) -> None:
        self.reactions: Reactions = MemoryReactions(self.log)

    async def begin(self) -> "Stage":
        """Write the message."""
        await self.log.append(new_message(1))
        await self.link.subscribe(ROOM)
        return self

    @property
    def reacting(self) -> Reacting:
        """The use case."""
        return Reacting(self.reactions, Writing(self.link), lambda: NOW_MS, denials=self.denials)

    async def hint(self) -> object:
        """The next hint that the replica hears."""
        async with asyncio.timeout(5):
            return await anext(self.link.listen())


async def test_a_reaction_is_an_event_with_the_whole_state() -> None:
    """Written once, hinted at, and taken back by another event."""
    stage = await Stage().begin()
    added = await stage.reacting.react(ALICE, LIKE, add=True)
    told = ReactionChanged(ROOM, added.position.epoch, 2, NOW_MS, some_id(1), (Reacted("👍", 1, (UserId("alice"),)),))
    assert added == Settled(Position(told.epoch, 2), told, duplicate=False)
    again = await stage.reacting.react(ALICE, LIKE, add=True)
    assert again == Settled(added.position, None, duplicate=True)
    removed = await stage.reacting.react(ALICE, LIKE, add=False)
    assert removed.event is not None
    assert (removed.event.offset, removed.event.reactions) == (3, ())
    assert [await stage.hint(), await stage.hint()] == [told, removed.event]


@pytest.mark.parametrize(
    ("grants", "may"), [(["send"], True), (["react"], True), (["join", "moderate", "publish"], False)]
)
async def test_writers_and_those_who_may_react(grants: list[str], may: bool) -> None:
    """One of the two actions, and no join."""
    stage = await Stage().begin()
    user = identity("bob", {"room:*": grants})
    if may:
        assert not (await stage.reacting.react(user, LIKE, add=True)).duplicate
        return
    for add in (True, False):
        with pytest.raises(PermissionDenied, match="'react'"):
            await stage.reacting.react(user, LIKE, add=add)


async def test_a_stranger_does_not_learn_which_messages_exist() -> None:
    """The refusal comes before the message is looked up."""
    stage = await Stage().begin()
    unknown = LIKE.model_copy(update={"id": some_id(9)})
    with pytest.raises(PermissionDenied):
        await stage.reacting.react(READER, unknown, add=True)
    with pytest.raises(NotFound):
        await stage.reacting.react(ALICE, unknown, add=True)


async def test_a_removed_user_reacts_no_longer() -> None:
    """Whatever the token says."""
    stage = await Stage().begin()
    stage.denials.apply(Denial(ROOM, ALICE.user, 1))
    with pytest.raises(PermissionDenied, match="removed"):
        await stage.reacting.react(ALICE, LIKE, add=True)


async def test_a_deleted_message_takes_no_reaction() -> None:
    """Neither more nor fewer."""
    stage = await Stage().begin()
    await stage.log.append(Deletion(ROOM, some_id(1), NOW_MS))
    for add in (True, False):
        with pytest.raises(Conflict):
            await stage.reacting.react(ALICE, LIKE, add=add)


def test_a_log_that_hangs_is_unavailable_and_the_late_event_is_hinted_at() -> None:
    """Within the deadline of every command."""

    async def reacting() -> None:
        stage = await Stage().begin()
        gate = Gate()
        stage.reactions = Slow(stage.reactions, gate)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await stage.reacting.react(ALICE, LIKE, add=True)
        assert asyncio.get_running_loop().time() - began == pytest.approx(COMMAND_DEADLINE_S)
        gate.open()
        assert isinstance(await stage.hint(), ReactionChanged)

    virtually(reacting)


async def test_a_change_that_is_not_told_hints_at_nothing() -> None:
    """Also if its user has given up: the 101st reaction of an emoji is in the state alone."""
    stage = await Stage().begin()
    for number in range(100):
        await stage.reactions.react(Reaction(ROOM, some_id(1), "👍", UserId(f"u{number}"), add=True, at=NOW_MS))
    settled = await stage.reacting.react(ALICE, LIKE, add=True)
    assert (settled.event, settled.duplicate) == (None, False)
    gate = Gate()
    stage.reactions = Slow(stage.reactions, gate)
    late = asyncio.create_task(stage.reacting.react(identity("bob"), LIKE, add=True))
    await gate.reached.wait()
    late.cancel()
    gate.open()
    await turns(5)
    stage.reactions = MemoryReactions(stage.log)
    told = await stage.reacting.react(identity("cy"), LIKE.model_copy(update={"emoji": "🎉"}), add=True)
    assert await stage.hint() == told.event


async def test_only_messages_and_published_events_make_channels() -> None:
    """A reaction needs a message, which was there before."""
    stage = await Stage().begin()
    made = FreshChannels({Bucket.NEW_CHANNEL: Rate(0.01, 1)}, {}, lambda _: False, lambda: 0.0)
    writing = Writing(stage.link, fresh=made)
    writing.wrote_first(Settled(Position("one", 1), reacted(1), duplicate=False))
    writing.check_new(ALICE, ROOM)
    writing.wrote_first(Recorded(published(1), duplicate=False))
    with pytest.raises(RateLimited):
        writing.check_new(ALICE, ROOM)


async def test_a_log_that_gives_up_a_write_gives_up_the_answer() -> None:
    """As it does when the process ends."""
    stage = await Stage().begin()
    gate = Gate()

    async def write() -> Settled:
        await gate()
        raise AssertionError

    under_way = asyncio.ensure_future(write())
    waiting = asyncio.create_task(Writing(stage.link).finish(under_way))
    await gate.reached.wait()
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
