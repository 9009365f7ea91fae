"""The names of Maru's keys and topics in Redis."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from socketio import AsyncRedisManager

from server.adapters.redis import keys
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.settings.model import Settings
from tests.doubles.samples import ROOM, some_id

names = st.text(st.characters(codec="utf-8"), max_size=6)


def test_keys_of_a_channel_share_its_hash_tag() -> None:
    """The channel is between the first braces, so that Redis Cluster keeps all its keys in one slot."""
    every = [
        keys.meta(ROOM),
        keys.log(ROOM),
        keys.order(ROOM),
        keys.state(ROOM, some_id(1)),
        keys.sent(ROOM, UserId("{bob}"), "}k{"),
        keys.topic(ROOM),
    ]
    assert {key.partition("{")[2].partition("}")[0] for key in every} == {ROOM}
    assert all(one != another for one, another in combinations(every, 2))


@given(names, names, names, names)
def test_two_sends_never_share_a_key(user: str, key: str, other_user: str, other_key: str) -> None:
    """Whatever users and keys are called, another pair has another name."""
    same = (user, key) == (other_user, other_key)
    assert (keys.sent(ROOM, UserId(user), key) == keys.sent(ROOM, UserId(other_user), other_key)) == same


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
            keys.state(ROOM, some_id(1), prefix),
            keys.sent(ROOM, UserId("u"), "k", prefix),
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
