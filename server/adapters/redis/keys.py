"""Every key and topic of Maru in Redis, in a single place.

All keys of a channel share the hash tag `{channel}`, so that Redis Cluster keeps them in the same slot and a script may
touch them all. Channel names hold no braces.
"""

from server.domain.channels import ChannelName
from server.domain.identity import UserId

PREFIX = "maru:1:"
"""With the version of the layout: keys of another layout would live beside these."""


def meta(channel: ChannelName) -> str:
    """STRING: `epoch head at floor first renewed`, see channel.lua."""
    return f"{PREFIX}{{{channel}}}:meta"


def log(channel: ChannelName) -> str:
    """STREAM: the events. An entry's id is its offset; its only field, `e`, is described in entries.py."""
    return f"{PREFIX}{{{channel}}}:log"


def order(channel: ChannelName) -> str:
    """ZSET: message ids by the offset of their creation."""
    return f"{PREFIX}{{{channel}}}:order"


def state(channel: ChannelName, id: str) -> str:
    """STRING: the present state of a message that was changed after its creation (entries.py)."""
    return f"{PREFIX}{{{channel}}}:state:{id}"


def sent(channel: ChannelName, user: UserId, key: str) -> str:
    """STRING, for 24 h: `epoch offset at id end` of the first message with the key. The length of the user's id keeps
    (user, key) pairs apart."""
    return f"{PREFIX}{{{channel}}}:sent:{len(user)}:{user}:{key}"


def topic(channel: ChannelName) -> str:
    """Pub/sub: hints at the channel's events."""
    return f"{PREFIX}{{{channel}}}:events"


def pulse(replica: str) -> str:
    """Pub/sub: a replica's heartbeat to itself."""
    return f"{PREFIX}pulse:{replica}"
