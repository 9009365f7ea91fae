"""Every key and topic of Maru in Redis, in a single place; those of presence are beside it (presence_keys.py).

Channels are spread over 256 partitions. All keys of a partition share a hash tag, so that Redis Cluster keeps them in
the same slot and a script may touch them all. Channel names hold no braces.
"""

from functools import lru_cache
from zlib import crc32

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.messages import MessageId

PREFIX = "maru:2:"
"""With the version of the layout: keys of another layout would live beside these. The default of `prefix` everywhere:
with another prefix, another deployment can use the same Redis."""

SHARED_TOPIC = "socketio"
"""The topic on which stock managers publish, unless they are told otherwise."""


PARTITIONS = tuple(f"{{p{number:02x}}}" for number in range(256))
"""The hash tags."""

BUCKETS = 1024
"""Of a partition: the channels of a bucket get new epochs together."""

NAMES_LIMIT = 50_000
"""Channels whose names of keys are remembered."""


def partition(channel: ChannelName) -> str:
    """Return the hash tag of the channel's partition."""
    return PARTITIONS[crc32(channel.encode()) % len(PARTITIONS)]


def bucket(channel: ChannelName) -> int:
    """Return the channel's bucket in its partition."""
    return crc32(channel.encode()) // len(PARTITIONS) % BUCKETS


def store(partition: str, prefix: str = PREFIX) -> str:
    """HASH: `id`, the random id of the partition; by bucket, how often a channel of the bucket was forgotten; `hooks`,
    the endpoints of webhooks that are open (endpoints.py)."""
    return f"{prefix}{partition}:store"


def debts(partition: str, endpoint: str, prefix: str = PREFIX) -> str:
    """HASH: by channel, up to which place an endpoint of webhooks has the events of a channel that has more."""
    return f"{prefix}{partition}:debts:{endpoint}"


def idle(partition: str, prefix: str = PREFIX) -> str:
    """ZSET: the channels that have keys by the time of their last write, ms; at most a second late."""
    return f"{prefix}{partition}:idle"


def authors(partition: str, prefix: str = PREFIX) -> str:
    """ZSET, all scores 0: the channels in which a user ever wrote; see `author`."""
    return f"{prefix}{partition}:authors"


def author(user: UserId) -> str:
    """Return how the user's members of `authors` begin; the channel follows. The length keeps users apart."""
    return f"{len(user)}:{user}:"


def author_channel(member: str) -> ChannelName:
    """Return the channel of a member of `authors`."""
    length, _, rest = member.partition(":")
    return ChannelName(rest[int(length) + 1 :])


def meta(channel: ChannelName, prefix: str = PREFIX) -> str:
    """STRING: fourteen words, see channel.lua. With the channel's first event."""
    return f"{prefix}{partition(channel)}:{channel}:meta"


def log(channel: ChannelName, prefix: str = PREFIX) -> str:
    """STREAM: the events. An entry's id is its offset; its only field, `e`, is described in entries.py."""
    return f"{prefix}{partition(channel)}:{channel}:log"


def order(channel: ChannelName, prefix: str = PREFIX) -> str:
    """ZSET: message ids by the offset of their creation."""
    return f"{prefix}{partition(channel)}:{channel}:order"


def state(channel: ChannelName, prefix: str = PREFIX) -> str:
    """HASH: by id, the present state of a message that was changed after its creation (entries.py)."""
    return f"{prefix}{partition(channel)}:{channel}:state"


def gone(channel: ChannelName, prefix: str = PREFIX) -> str:
    """HASH: by offset, what stood in the place of an event that was erased (entries.py)."""
    return f"{prefix}{partition(channel)}:{channel}:gone"


def sent(channel: ChannelName, window: int | str, prefix: str = PREFIX) -> str:
    """HASH: the idempotency keys of a window of 8 hours (append.lua), for a day and some hours more."""
    return f"{prefix}{partition(channel)}:{channel}:sent:{window}"


def rate(channel: ChannelName, prefix: str = PREFIX) -> str:
    """STRING that expires: when everything that the channel's bucket of events has given will be earned, ms. It is no
    word of `meta`, so that replicas without rates can share the layout."""
    return f"{prefix}{partition(channel)}:{channel}:rate"


def reads(channel: ChannelName, prefix: str = PREFIX) -> str:
    """ZSET: users by the offset up to which they have read."""
    return f"{prefix}{partition(channel)}:{channel}:reads"


def mentions(channel: ChannelName, prefix: str = PREFIX) -> str:
    """HASH: by user, or `*` for everybody, the offsets of the messages that name them (unread.lua)."""
    return f"{prefix}{partition(channel)}:{channel}:mentions"


def erased(channel: ChannelName, prefix: str = PREFIX) -> str:
    """ZSET: an index of `gone`, made anew if it is lost (unread.lua)."""
    return f"{prefix}{partition(channel)}:{channel}:erased"


def reacted(channel: ChannelName, prefix: str = PREFIX) -> str:
    """HASH: by message id, its reactions as they are shown (react.lua)."""
    return f"{prefix}{partition(channel)}:{channel}:reacted"


def reactors(channel: ChannelName, id: MessageId, prefix: str = PREFIX) -> str:
    """ZSET: all reactions to a message (react.lua)."""
    return f"{reacted(channel, prefix)}:{id}"


def records(channel: ChannelName, prefix: str = PREFIX) -> str:
    """ZSET, all scores 0: the events of applications by offset, and by name and offset (record.lua)."""
    return f"{prefix}{partition(channel)}:{channel}:records"


def followers(channel: ChannelName, prefix: str = PREFIX) -> str:
    """SET: the users that follow the channel. It outlives the channel's log."""
    return f"{prefix}{partition(channel)}:{channel}:followers"


def follows(user: UserId, prefix: str = PREFIX) -> str:
    """SET: the channels that the user follows."""
    return f"{prefix}user:{user}:follows"


@lru_cache(maxsize=NAMES_LIMIT)
def of_channel(channel: ChannelName, prefix: str) -> tuple[str, ...]:
    """Return the keys of `channel.lua`, and how those of the channel's idempotency keys begin."""
    tag = partition(channel)
    own = (each(channel, prefix) for each in (meta, log, order, state, gone))
    return (*own, store(tag, prefix), idle(tag, prefix), sent(channel, "", prefix))


def revoked(prefix: str = PREFIX) -> tuple[str, str]:
    """HASH: the revocations by id; ZSET: their ids by when they expire, ms. See hold.lua."""
    return f"{prefix}{{revoked}}:entries", f"{prefix}{{revoked}}:ends"


def denied(prefix: str = PREFIX) -> tuple[str, str]:
    """HASH: when denials expire, ms, by `denial`; ZSET: the same, in the order of time. See hold.lua."""
    return f"{prefix}{{denied}}:entries", f"{prefix}{{denied}}:ends"


def denial(user: UserId, channel: ChannelName) -> str:
    """Return the name of a denial: as that of an author's channel."""
    return f"{author(user)}{channel}"


def denied_member(name: str) -> tuple[UserId, ChannelName]:
    """Return the user and the channel of a denial. Raises `ValueError` if the name is none."""
    length, _, rest = name.partition(":")
    user, colon, channel = rest[: int(length)], rest[int(length) : int(length) + 1], rest[int(length) + 1 :]
    if colon != ":":
        raise ValueError("not the name of a denial")
    return UserId(user), ChannelName(channel)


def control(prefix: str = PREFIX) -> str:
    """STREAM: the orders of backends and operators, see control.py."""
    return f"{prefix}control"


def erasures(prefix: str = PREFIX) -> str:
    """HASH: by id, the erasures that were asked for (adapters/erasures.py)."""
    return f"{prefix}erasures"


def leases(prefix: str = PREFIX) -> str:
    """ZSET: the ids of replicas by the end of their leases, ms."""
    return f"{prefix}{{replicas}}:leases"


def rows(prefix: str = PREFIX) -> str:
    """HASH: by id, what a replica last said of itself (replicas.py)."""
    return f"{prefix}{{replicas}}:rows"


def lead(endpoint: str, prefix: str = PREFIX) -> str:
    """STRING that expires: the replica that dispatches for an endpoint of webhooks."""
    return f"{prefix}{{hooks}}:lead:{endpoint}"


def dead(endpoint: str, prefix: str = PREFIX) -> str:
    """STREAM: the dead letters of an endpoint of webhooks (letters.py)."""
    return f"{prefix}{{hooks}}:dead:{endpoint}"


def secret(prefix: str = PREFIX) -> str:
    """STRING: random bytes that the replicas share, if nothing else that they share is a secret."""
    return f"{prefix}secret"


def topic(channel: ChannelName, prefix: str = PREFIX, db: int = 0) -> str:
    """Pub/sub: hints at the channel's events. All databases of a Redis share its topics, so the name has the number."""
    return f"{prefix}{db}:{{{channel}}}:events"


def topic_channel(topic: str, prefix: str = PREFIX, db: int = 0) -> ChannelName:
    """Return the channel of a topic."""
    return ChannelName(topic[len(f"{prefix}{db}:{{") : -len("}:events")])


def sharded_topic(channel: ChannelName, prefix: str = PREFIX) -> str:
    """Pub/sub of a Redis Cluster: as `topic`, in the slot of the channel's keys."""
    return f"{prefix}{partition(channel)}:{channel}:events"


def sharded_topic_channel(topic: str, prefix: str = PREFIX) -> ChannelName:
    """Return the channel of a topic of a Redis Cluster."""
    return ChannelName(topic[len(f"{prefix}{{p00}}:") : -len(":events")])


def sharded_pulse(partition: str, replica: str, prefix: str = PREFIX) -> str:
    """Pub/sub of a Redis Cluster: as `pulse`, by way of the node that has the partition."""
    return f"{prefix}{partition}:pulse:{replica}"


def shared_topic(prefix: str = PREFIX, db: int = 0) -> str:
    """Pub/sub: events that other processes emit by a stock manager. With the defaults it is the manager's own."""
    return SHARED_TOPIC if (prefix, db) == (PREFIX, 0) else f"{prefix}{db}:{SHARED_TOPIC}"


def pulse(replica: str, prefix: str = PREFIX) -> str:
    """Pub/sub: a replica's heartbeat to itself."""
    return f"{prefix}pulse:{replica}"
