"""Every key of presence in Redis."""

import secrets
from zlib import crc32

from server.adapters.redis.keys import PARTITIONS, PREFIX, partition
from server.domain.channels import ChannelName
from server.domain.identity import UserId


def roster(channel: ChannelName, prefix: str = PREFIX) -> tuple[str, str, str]:
    """ZSET: the users in a channel by the time, ms, from which they are there; HASH: by user, the holders that have
    entered them; STRING: epoch and version. See roster.lua."""
    begins = f"{prefix}{partition(channel)}:{channel}:"
    return f"{begins}who", f"{begins}by", f"{begins}roster"


def held(partition: str, holder: str, prefix: str = PREFIX) -> tuple[str, str]:
    """HASH: by channel, how many users a holder has entered; STRING that expires: the holder is dead, and enters
    nobody."""
    return f"{prefix}{partition}:held:{holder}", f"{prefix}{partition}:dead:{holder}"


def online(partition: str, prefix: str = PREFIX) -> tuple[str, str]:
    """HASH: by user, how many sessions each holder counts; ZSET: the users that went offline by the time, ms."""
    return f"{prefix}{partition}:online", f"{prefix}{partition}:seen"


def counted(partition: str, holder: str, prefix: str = PREFIX) -> tuple[str, str]:
    """HASH: by user, how many sessions a holder counts; STRING: as in `held`."""
    return f"{prefix}{partition}:counted:{holder}", f"{prefix}{partition}:dead:{holder}"


def user_partition(user: UserId) -> str:
    """Return the hash tag of the partition that knows whether the user is online."""
    return PARTITIONS[crc32(user.encode()) % len(PARTITIONS)]


def new_epoch() -> str:
    """Return an epoch of a roster, never given before."""
    return secrets.token_hex(8)


def holders(prefix: str = PREFIX) -> str:
    """ZSET: the holders of presence by the end of their leases, ms (holding.py)."""
    return f"{prefix}{{presence}}:holders"


def reaper(holder: str, prefix: str = PREFIX) -> str:
    """STRING that expires: the replica that removes a dead holder's entries."""
    return f"{prefix}{{presence}}:reaper:{holder}"
