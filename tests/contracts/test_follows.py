"""The promises of followed channels, by their numbers, held by every store."""

import asyncio
from itertools import count

import pytest

from server.domain.channels import ChannelName
from server.domain.errors import Conflict
from server.domain.identity import UserId
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import opened, replicas
from tests.doubles.samples import new_message

_numbers = count(1)


def somebody() -> UserId:
    """A user that no other test knows: the store may be shared."""
    return UserId(f"follower-{next(_numbers)}")


async def test_1_a_user_follows_until_they_do_not(people_store: LogStore, channel: ChannelName) -> None:
    """Doing so again changes nothing, on any replica."""
    user, other = somebody(), ChannelName(f"{channel}:other")
    async with replicas(people_store) as (one, two):
        assert await one.follows.follow(user, channel)
        assert not await two.follows.follow(user, channel)
        assert await two.follows.follow(user, other)
        assert set(await one.follows.followed(user)) == {channel, other}
        assert await two.follows.unfollow(user, channel)
        assert not await one.follows.unfollow(user, channel)
        assert list(await two.follows.followed(user)) == [other]
        assert list(await one.follows.followed(somebody())) == []


async def test_1_follows_outlive_the_log_object(people_store: LogStore, channel: ChannelName) -> None:
    """They are there after closing and opening."""
    user = somebody()
    async with opened(people_store) as people:
        await people.follows.follow(user, channel)
    async with opened(people_store) as people:
        assert list(await people.follows.followed(user)) == [channel]
        assert list(await people.follows.followers(channel, 10)) == [user]


async def test_1_a_user_follows_so_many_channels(people_store: LogStore, channel: ChannelName) -> None:
    """A further channel is refused, one that is followed is not, and there is room after another goes."""
    user = somebody()
    async with opened(people_store) as people:
        names = [ChannelName(f"{channel}:{number}") for number in range(MAX_FOLLOWS)]
        for start in range(0, MAX_FOLLOWS, 200):
            await asyncio.gather(*(people.follows.follow(user, name) for name in names[start : start + 200]))
        with pytest.raises(Conflict) as raised:
            await people.follows.follow(user, channel)
        assert raised.value.message == too_many_follows().message
        assert not await people.follows.follow(user, names[7])
        assert set(await people.follows.followed(user)) == set(names)
        await people.follows.unfollow(user, names[7])
        assert await people.follows.follow(user, channel)


async def test_2_a_new_follow_begins_at_the_head(people_store: LogStore, channel: ChannelName) -> None:
    """If the user has no mark in the channel."""
    new, reader = somebody(), somebody()
    async with opened(people_store) as people:
        for number in (1, 2, 3):
            await people.log.append(new_message(number, channel))
        await people.marks.mark(channel, reader, 1)
        for user in (new, reader):
            await people.follows.follow(user, channel)
        assert await people.counts(new, channel) == (3, 0, 0)
        assert await people.counts(reader, channel) == (1, 2, 0)
        await people.log.append(new_message(4, channel))
        assert not await people.follows.follow(new, channel)
        assert await people.counts(new, channel) == (3, 1, 0)


async def test_the_followers_of_a_channel(people_store: LogStore, channel: ChannelName) -> None:
    """At most as many as are asked for; not those of another channel."""
    users = [somebody() for _ in range(5)]
    async with opened(people_store) as people:
        for user in users:
            await people.follows.follow(user, channel)
        await people.follows.follow(somebody(), ChannelName(f"{channel}:other"))
        assert sorted(await people.follows.followers(channel, 10)) == sorted(users)
        some = await people.follows.followers(channel, 2)
        assert len(set(some)) == 2
        assert set(some) <= set(users)
        await people.follows.unfollow(users[0], channel)
        assert users[0] not in await people.follows.followers(channel, 10)
