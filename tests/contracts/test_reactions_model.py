"""Whatever is added and taken back, on any replica, reactions end as a set, and the log tells of it."""

import asyncio
from collections.abc import Sequence
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.events import ReactionChanged
from server.domain.messages import Message
from server.domain.reactions import SHOWN_USERS, Reactions
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import Opened, opened, reaction, replicas
from tests.doubles.samples import new_message, some_id

USERS = [f"user-{number}" for number in range(5)]

_channels = (ChannelName(f"reactions:{number}") for number in count(1))

toggle = st.tuples(
    st.integers(0, 1), st.integers(1, 2), st.sampled_from(USERS), st.sampled_from(["👍", "🎉", "+1"]), st.booleans()
)
"""A replica, a message, a user, an emoji, and whether it is added."""

examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def replayed(people: Opened, channel: ChannelName, after: int = 0) -> dict[str, Reactions]:
    """The reactions that a client has of each message, by the events behind an offset."""
    events: dict[str, Reactions] = {}
    while replay := (await people.log.read(channel, after, 1_000)).events:
        events |= {each.id: each.reactions for each in replay if isinstance(each, ReactionChanged)}
        after = replay[-1].offset
    return events


@given(script=st.lists(toggle, max_size=40))
@examples
async def test_steps_end_as_a_set(people_store: LogStore, script: Sequence[tuple[int, int, str, str, bool]]) -> None:
    """One after the other on two replicas: each answer, the order, and the replay are those of a list in Python."""
    if not people_store.tries():
        return
    channel, made = next(_channels), list[tuple[int, str, str]]()
    async with replicas(people_store) as pair:
        for number in (1, 2):
            await pair[0].log.append(new_message(number, channel))
        for replica, number, user, emoji, add in script:
            settled = await pair[replica].reactions.react(reaction(number, channel, user, emoji, add=add))
            entry = (number, emoji, user)
            assert settled.duplicate == ((entry in made) == add)
            if settled.duplicate:
                continue
            if add:
                made.append(entry)
            else:
                made.remove(entry)
            assert settled.event is not None
            assert flat(settled.event.reactions) == of(made, number)
        told = await replayed(pair[1], channel)
        for number in (1, 2):
            assert await pair[0].reacted(channel, some_id(number)) == told.get(some_id(number), ())
            assert flat(await pair[1].reacted(channel, some_id(number))) == of(made, number)


def flat(state: Reactions) -> dict[str, list[str]]:
    """The users of each emoji, in the order of the state: both are told of fewer than `SHOWN_USERS`."""
    assert all(each.count == len(each.users) for each in state)
    users = {each.emoji: [str(user) for user in each.users] for each in state}
    assert list(users) == [each.emoji for each in state]
    return users


def of(made: Sequence[tuple[int, str, str]], number: int) -> dict[str, list[str]]:
    """The same of a list."""
    mine = [(emoji, user) for of, emoji, user in made if of == number]
    return {emoji: [user for each, user in mine if each == emoji] for emoji, _ in mine}


@given(script=st.lists(toggle, min_size=2, max_size=60))
@examples
async def test_any_interleaving_ends_as_a_set(
    people_store: LogStore, script: Sequence[tuple[int, int, str, str, bool]]
) -> None:
    """Five users at once, each waiting for its own answers, over two replicas: what the last step of each user and
    emoji wanted is there, and a replay says the same."""
    if not people_store.tries():
        return
    channel = next(_channels)
    async with replicas(people_store) as pair:
        for number in (1, 2):
            await pair[0].log.append(new_message(number, channel))

        async def reacts(user: str) -> None:
            for replica, number, who, emoji, add in script:
                if who == user:
                    await pair[replica].reactions.react(reaction(number, channel, user, emoji, add=add))

        await asyncio.gather(*map(reacts, USERS))
        wanted = {(number, user, emoji): add for _, number, user, emoji, add in script}
        told = await replayed(pair[0], channel)
        for number in (1, 2):
            state = await pair[1].reacted(channel, some_id(number))
            there = {(number, user, each.emoji) for each in state for user in each.users}
            assert there == {entry for entry, add in wanted.items() if add and entry[0] == number}
            assert told.get(some_id(number), ()) == state


async def test_a_flood_is_told_within_a_tenth(people_store: LogStore, channel: ChannelName) -> None:
    """A client that has the events alone shows a count that is exact below 100, and at most a tenth off above."""
    async with opened(people_store) as people:
        await people.log.append(new_message(1, channel))
        for add in (True, False):
            for start in range(0, 1_300, 13):
                wave = [reaction(1, channel, f"user-{number}", add=add) for number in range(start, start + 13)]
                await asyncio.gather(*map(people.reactions.react, wave))
                message = (await people.log.history(channel, None, None, 1)).messages[0]
                assert isinstance(message, Message)
                exact = sum(each.count for each in message.reactions)
                shown = sum(each.count for each in (await replayed(people, channel)).get(some_id(1), ()))
                assert abs(shown - exact) <= (0 if exact < 100 else exact // 10)
                assert all(len(each.users) <= SHOWN_USERS for each in message.reactions)
        assert (await people.log.read(channel, 0, 0)).head.offset <= 1 + 2 * (100 + 90 + 3)
