"""The names of Maru's keys and topics in Redis."""

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from socketio import AsyncRedisManager

from server.adapters.redis import keys
from server.adapters.redis.sent import created_at, digest, id_bytes
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.settings.model import Settings
from tests.doubles.samples import ROOM, new_message, some_id

names = st.text(st.characters(codec="utf-8"), max_size=6)


def test_keys_of_a_partition_share_its_hash_tag() -> None:
    """The partition is between the first braces, so that Redis Cluster keeps all its keys in one slot."""
    partition = keys.partition(ROOM)
    every = [
        keys.meta(ROOM),
        keys.log(ROOM),
        keys.order(ROOM),
        keys.state(ROOM),
        keys.gone(ROOM),
        keys.sent(ROOM, 7),
        keys.store(partition),
        keys.idle(partition),
        keys.authors(partition),
    ]
    assert {"{" + key.partition("{")[2].partition("}")[0] + "}" for key in every} == {partition}
    assert all(one != another for one, another in combinations(every, 2))


def test_channels_spread_over_partitions_and_buckets() -> None:
    """Ten thousand names leave no partition empty, and share no bucket with many others."""
    channels = [ChannelName(f"room:{number}") for number in range(10_000)]
    assert {keys.partition(channel) for channel in channels} == {*keys.PARTITIONS}
    places = Counter((keys.partition(channel), keys.bucket(channel)) for channel in channels)
    assert max(places.values()) < 5
    assert {keys.bucket(channel) for channel in channels} <= {*range(keys.BUCKETS)}


@given(names, names, names, names)
def test_two_sends_never_share_a_digest(user: str, key: str, other_user: str, other_key: str) -> None:
    """Whatever users and keys are called, another pair has another digest."""
    same = (user, key) == (other_user, other_key)
    assert (
        digest(new_message(1, key=key, user=user)) == digest(new_message(1, key=other_key, user=other_user))
    ) == same


@given(names)
def test_a_member_of_the_index_of_authors_names_the_channel(user: str) -> None:
    """Whatever the user is called."""
    assert keys.author_channel(keys.author(UserId(user)) + ROOM) == ROOM


def test_the_bytes_of_an_id_have_its_time() -> None:
    """A creation that the log has dropped gets its time from its id."""
    assert id_bytes(some_id(3)).hex() == some_id(3).replace("-", "")
    assert created_at(some_id(3)) == new_message(3).at


def test_channels_share_nothing() -> None:
    """A channel whose name begins like another's has names of its own."""
    longer = ChannelName("room:1:log")
    assert not {keys.meta(ROOM), keys.log(ROOM)} & {keys.meta(longer), keys.log(longer)}


def test_deployments_with_other_prefixes_share_nothing() -> None:
    """Neither keys nor topics; nor topics in another database, though Redis has one set of topics for all."""
    given = [
        {
            keys.meta(ROOM, prefix),
            keys.log(ROOM, prefix),
            keys.order(ROOM, prefix),
            keys.state(ROOM, prefix),
            keys.sent(ROOM, 7, prefix),
            keys.topic(ROOM, prefix),
            keys.topic(ROOM, prefix, 1),
            keys.shared_topic(prefix),
            keys.shared_topic(prefix, 1),
            keys.pulse("r", prefix),
        }
        for prefix in (keys.PREFIX, "a:", "b:")
    ]
    assert all(len(names) == 10 for names in given)
    assert not any(one & another for one, another in combinations(given, 2))


def test_a_stock_manager_is_heard_by_default() -> None:
    """Without a prefix and a database of its own, a deployment hears what stock managers publish."""
    assert keys.shared_topic() == AsyncRedisManager("redis://127.0.0.1", write_only=True).channel
    assert Settings.model_fields["redis_prefix"].default == keys.PREFIX
