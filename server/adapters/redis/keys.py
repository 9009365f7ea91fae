"""Every key and topic of Maru in Redis, in a single place.

All keys of a channel share the hash tag `{channel}`, so that Redis Cluster keeps them in the same slot and a script may
touch them all. Channel names hold no braces.
"""

from server.domain.channels import ChannelName
from server.domain.identity import UserId

PREFIX = "maru:2:"
"""With the version of the layout: keys of another layout would live beside these. The default of `prefix` everywhere:
with another prefix, another deployment can use the same Redis."""

SHARED_TOPIC = "socketio"
"""The topic on which stock managers publish, unless they are told otherwise."""


def meta(channel: ChannelName, prefix: str = PREFIX) -> str:
    """STRING: `epoch head at floor first renewed`, see channel.lua."""
    return f"{prefix}{{{channel}}}:meta"


def log(channel: ChannelName, prefix: str = PREFIX) -> str:
    """STREAM: the events. An entry's id is its offset; its only field, `e`, is described in entries.py."""
    return f"{prefix}{{{channel}}}:log"


def order(channel: ChannelName, prefix: str = PREFIX) -> str:
    """ZSET: message ids by the offset of their creation."""
    return f"{prefix}{{{channel}}}:order"


def state(channel: ChannelName, id: str, prefix: str = PREFIX) -> str:
    """STRING: the present state of a message that was changed after its creation (entries.py)."""
    return f"{prefix}{{{channel}}}:state:{id}"


def sent(channel: ChannelName, user: UserId, key: str, prefix: str = PREFIX) -> str:
    """STRING, for 24 h: `epoch offset at id end` of the first message with the key. The length of the user's id keeps
    (user, key) pairs apart."""
    return f"{prefix}{{{channel}}}:sent:{len(user)}:{user}:{key}"


def topic(channel: ChannelName, prefix: str = PREFIX, db: int = 0) -> str:
    """Pub/sub: hints at the channel's events. All databases of a Redis share its topics, so the name has the number."""
    return f"{prefix}{db}:{{{channel}}}:events"


def shared_topic(prefix: str = PREFIX, db: int = 0) -> str:
    """Pub/sub: events that other processes emit by a stock manager. With the defaults it is the manager's own."""
    return SHARED_TOPIC if (prefix, db) == (PREFIX, 0) else f"{prefix}{db}:{SHARED_TOPIC}"


def pulse(replica: str, prefix: str = PREFIX) -> str:
    """Pub/sub: a replica's heartbeat to itself."""
    return f"{prefix}pulse:{replica}"
