"""The promises of reactions, by their numbers, held by every store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.domain.appending import Settled, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Reaction, Revision
from server.domain.errors import Conflict, MaruError, NotFound, RateLimited
from server.domain.events import MessageEdited, MessageErased, ReactionChanged
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.messages import Message, Tombstone
from server.domain.reactions import MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS, Reacted
from server.domain.tallies import react_to_deleted, too_many_emojis, too_many_reactors
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import Opened, opened, reaction, replicas
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id

RATE = Rate(4.0, 3)

TOGETHER = 250
"""Reactions that are made at once: fewer than any store refuses."""


def users(*names: str) -> tuple[UserId, ...]:
    """Users of these names."""
    return tuple(map(UserId, names))


def edit(number: int, channel: ChannelName) -> Revision:
    """The edit of the message with this number."""
    return Revision(channel, some_id(number), "edited", data=None, keep_data=True, at=NOW_MS + 1)


async def react_all(people: Opened, reactions: Sequence[Reaction]) -> list[Settled]:
    """Let all react, many at once, in this order."""
    settled: list[Settled] = []
    for start in range(0, len(reactions), TOGETHER):
        settled += await asyncio.gather(*map(people.reactions.react, reactions[start : start + TOGETHER]))
    return settled


async def refused(people: Opened, reacts: Reaction, refusal: MaruError) -> None:
    """Assert that the reaction is refused with this error and this text."""
    with pytest.raises(type(refusal)) as raised:
        await people.reactions.react(reacts)
    assert raised.value.message == refusal.message


async def test_1_a_reaction_is_there_until_it_is_taken_back(people_store: LogStore, channel: ChannelName) -> None:
    """For each user and each emoji; the message is the same otherwise."""
    async with replicas(people_store) as (one, two):
        await one.log.append(new_message(1, channel))
        await one.reactions.react(reaction(1, channel, "alice", "👍"))
        await two.reactions.react(reaction(1, channel, "alice", "+1 é\u2028"))
        await one.reactions.react(reaction(1, channel, "bob", "👍"))
        both = (Reacted("👍", 2, users("alice", "bob")), Reacted("+1 é\u2028", 1, users("alice")))
        assert await one.reacted(channel, some_id(1)) == await two.reacted(channel, some_id(1)) == both
        await two.reactions.react(reaction(1, channel, "alice", "👍", add=False))
        assert await one.reacted(channel, some_id(1)) == (both[1], Reacted("👍", 1, users("bob")))
        await one.reactions.react(reaction(1, channel, "bob", "👍", add=False))
        await one.reactions.react(reaction(1, channel, "alice", "+1 é\u2028", add=False))
        assert await two.reacted(channel, some_id(1)) == ()


async def test_1_reactions_outlive_the_log_object(people_store: LogStore, channel: ChannelName) -> None:
    """They are there after closing and opening, in their order, and count on."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        for name in ("carol", "alice", "bob"):
            await people.reactions.react(reaction(1, channel, name))
    async with opened(people_store) as people:
        assert await people.reacted(channel, some_id(1)) == (Reacted("👍", 3, users("carol", "alice", "bob")),)
        assert (await people.reactions.react(reaction(1, channel, "bob"))).duplicate
        settled = await people.reactions.react(reaction(1, channel, "carol", add=False))
        assert settled.event is not None
        assert settled.event.reactions == (Reacted("👍", 2, users("alice", "bob")),)


async def test_2_a_change_is_an_event_with_the_whole_state(people_store: LogStore, channel: ChannelName) -> None:
    """It takes the next offset, and a replay has it as the answer told it."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        settled = await people.reactions.react(reaction(1, channel, "alice", at=NOW_MS + 7))
        more = await people.reactions.react(reaction(1, channel, "bob", "🎉"))
        await people.log.append(new_message(2, channel))
        replay = await people.log.read(channel, 0, 10)
        place = (channel, replay.head.epoch)
        first = ReactionChanged(*place, 2, NOW_MS + 7, some_id(1), (Reacted("👍", 1, users("alice")),))
        second = ReactionChanged(*place, 3, NOW_MS, some_id(1), (*first.reactions, Reacted("🎉", 1, users("bob"))))
        assert list(replay.events[1:3]) == [first, second] == [settled.event, more.event]
        assert (settled.position.offset, settled.duplicate, more.position.offset) == (2, False, 3)
        assert [event.offset for event in replay.events] == [1, 2, 3, 4]


async def test_2_the_first_users_are_named(people_store: LogStore, channel: ChannelName) -> None:
    """The count has all. If a named user reacts no longer, the next is named."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        names = [f"user-{number}" for number in range(SHOWN_USERS + 3)]
        await react_all(people, [reaction(1, channel, name) for name in names])
        assert await people.reacted(channel, some_id(1)) == (Reacted("👍", len(names), users(*names[:SHOWN_USERS])),)
        await people.reactions.react(reaction(1, channel, names.pop(0), add=False))
        await people.reactions.react(reaction(1, channel, names.pop(4), add=False))
        await people.reactions.react(reaction(1, channel, names.pop(), add=False))
        assert await people.reacted(channel, some_id(1)) == (Reacted("👍", len(names), users(*names[:SHOWN_USERS])),)


async def test_2_a_flood_is_few_events(people_store: LogStore, channel: ChannelName) -> None:
    """5,000 reactions are at most 300 events, and the reads are exact all the same."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        settled = await react_all(people, [reaction(1, channel, f"user-{number}") for number in range(MAX_REACTORS)])
        replay = await people.log.read(channel, 0, 1_000)
        assert replay.head.offset == 1 + 100 + 90 + 40
        last = replay.events[-1]
        assert isinstance(last, ReactionChanged)
        assert last.reactions[0].count == MAX_REACTORS
        assert [each.event for each in settled if each.event] == list(replay.events[1:])
        await refused(people, reaction(1, channel, "one-more"), too_many_reactors())
        assert (await people.reactions.react(reaction(1, channel, "user-7"))).duplicate
        silent = await people.reactions.react(reaction(1, channel, "user-7", add=False))  # 4,999 is told: 49
        assert silent.event is not None
        silent = await people.reactions.react(reaction(1, channel, "user-8", add=False))
        assert silent == Settled(silent.position, None, duplicate=False)
        assert silent.position == (await people.log.read(channel, 0, 0)).head
        assert (await people.reacted(channel, some_id(1)))[0].count == MAX_REACTORS - 2
        await people.log.append(Deletion(channel, some_id(1), NOW_MS))
        assert isinstance(await people.log.message(channel, some_id(1)), Tombstone)


async def test_3_a_reaction_that_is_there_writes_nothing(people_store: LogStore, channel: ChannelName) -> None:
    """The answer has the position of the message's last event: its creation, an edit, or a change of reactions."""
    async with replicas(people_store) as (one, two):
        await one.log.append(new_message(1, channel))
        await one.log.append(new_message(2, channel))
        settled = await one.reactions.react(reaction(1, channel, add=False))
        assert (settled.position.offset, settled.event, settled.duplicate) == (1, None, True)
        await one.log.append(edit(1, channel))
        settled = await two.reactions.react(reaction(1, channel, add=False))
        assert (settled.position.offset, settled.event, settled.duplicate) == (3, None, True)
        first = await one.reactions.react(reaction(1, channel))
        assert not first.duplicate
        settled = await two.reactions.react(reaction(1, channel))
        assert settled == Settled(first.position, None, duplicate=True)
        await one.reactions.react(reaction(2, channel))
        await one.log.append(edit(1, channel))
        settled = await two.reactions.react(reaction(1, channel))
        assert (settled.position.offset, settled.duplicate) == (6, True)
        assert (await one.log.read(channel, 0, 0)).head.offset == 6


async def test_3_all_at_once_are_one(people_store: LogStore, channel: ChannelName) -> None:
    """Of the same reaction from two replicas, a single one is new."""
    async with replicas(people_store) as (one, two):
        await one.log.append(new_message(1, channel))
        calls = [people.reactions.react(reaction(1, channel)) for people in (one, two) for _ in range(10)]
        settled = await asyncio.gather(*calls)
        assert [each.duplicate for each in settled].count(False) == 1
        assert {each.position.offset for each in settled} == {2}


async def test_4_unknown_and_deleted_messages(people_store: LogStore, channel: ChannelName) -> None:
    """Adding and taking back are refused alike, also right behind the deletion."""
    async with opened(people_store) as people:
        await refused(people, reaction(1, channel), not_found())
        await people.log.append(new_message(1, channel))
        await refused(people, reaction(2, channel), not_found())
        await people.reactions.react(reaction(1, channel))
        outcomes = await asyncio.gather(
            people.log.append(Deletion(channel, some_id(1), NOW_MS)),
            people.reactions.react(reaction(1, channel, add=False)),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], Conflict)
        await refused(people, reaction(1, channel), react_to_deleted())
        await refused(people, reaction(1, channel, add=False), react_to_deleted())
        assert (await people.log.read(channel, 0, 0)).head.offset == 3


async def test_4_a_few_emojis(people_store: LogStore, channel: ChannelName) -> None:
    """A further emoji is refused; a further user is not, nor an emoji behind another that went."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        await react_all(people, [reaction(1, channel, emoji=f"e{number}") for number in range(MAX_EMOJIS)])
        await refused(people, reaction(1, channel, emoji="more"), too_many_emojis())
        await people.reactions.react(reaction(1, channel, "bob", "e0"))
        await people.reactions.react(reaction(1, channel, emoji="e5", add=False))
        await people.reactions.react(reaction(1, channel, emoji="more"))
        state = await people.reacted(channel, some_id(1))
        assert [each.emoji for each in state][-2:] == [f"e{MAX_EMOJIS - 1}", "more"]
        assert len(state) == MAX_EMOJIS


async def test_5_reads_have_the_reactions_of_now(people_store: LogStore, channel: ChannelName) -> None:
    """A page and a message have those of now; an edit has those of its moment, and a creation has none."""
    async with opened(people_store) as people:
        for number in (1, 2, 3):
            await people.log.append(new_message(number, channel))
        await people.reactions.react(reaction(2, channel))
        edited = (await people.log.append(edit(2, channel))).event
        await people.reactions.react(reaction(2, channel, "bob"))
        one, two = (Reacted("👍", 1, users("alice")),), (Reacted("👍", 2, users("alice", "bob")),)
        assert isinstance(edited, MessageEdited)
        assert edited.message.reactions == one
        page = await people.log.history(channel, None, None, 10)
        assert [each.reactions for each in page.messages if isinstance(each, Message)] == [(), two, ()]
        assert (
            page.messages[1] == replace(edited.message, reactions=two) == await people.log.message(channel, some_id(2))
        )
        assert (await people.log.read(channel, 4, 1)).events == [edited]
        await people.reactions.react(reaction(2, channel, add=False))
        await people.reactions.react(reaction(2, channel, "bob", add=False))
        assert await people.reacted(channel, some_id(2)) == ()


async def test_5_a_deletion_takes_the_reactions(people_store: LogStore, channel: ChannelName) -> None:
    """The message is a tombstone, its edits are erased, and its changes of reactions keep their places."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        told = (await people.reactions.react(reaction(1, channel))).event
        await people.log.append(edit(1, channel))
        await people.log.append(Deletion(channel, some_id(1), NOW_MS))
        assert isinstance(await people.log.message(channel, some_id(1)), Tombstone)
        events = (await people.log.read(channel, 0, 10)).events
        assert events[1] == told
        if people_store.erases:
            assert [type(each) for each in events[::2]] == [MessageErased] * 2


async def test_5_reactions_go_at_the_end_of_retention(people_store: LogStore, channel: ChannelName) -> None:
    """With the creation of their message; those of a later message stay."""
    async with opened(people_store, max_events=3) as people:
        await people.log.append(new_message(1, channel))
        await people.reactions.react(reaction(1, channel))
        await people.log.append(new_message(2, channel))
        await people.log.append(new_message(3, channel))
        await refused(people, reaction(1, channel, "bob"), not_found())
        await people.reactions.react(reaction(3, channel))
        await people.reactions.react(reaction(3, channel, "bob"))
        await people.reactions.react(reaction(3, channel, "carol"))
        await refused(people, reaction(3, channel, "dave"), NotFound(not_found().message))
        assert (await people.log.history(channel, None, None, 10)).messages == []


async def test_6_a_channels_rate_counts_events(people_store: LogStore, channel: ChannelName) -> None:
    """A change over the rate is refused and changes nothing; a reaction that is there takes nothing from the rate."""
    async with opened(people_store, rate=RATE) as people:
        await people.log.append(new_message(1, channel))
        await people.reactions.react(reaction(1, channel))
        for _ in range(5):
            assert (await people.reactions.react(reaction(1, channel))).duplicate
        await people.reactions.react(reaction(1, channel, "bob"))
        with pytest.raises(RateLimited):
            await people.reactions.react(reaction(1, channel, "bob", add=False))
        assert await people.reacted(channel, some_id(1)) == (Reacted("👍", 2, users("alice", "bob")),)
        people_store.clock.now += HOUR_MS
        settled = await people.reactions.react(reaction(1, channel, "bob", add=False))
        assert settled.position.offset == 4
