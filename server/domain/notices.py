"""Notices for webhooks of what stands in no channel's log: they are kept in logs of their own, which owe them to the
endpoints as all logs do. No client can name these logs: a channel's name does not begin so."""

from typing import Any
from zlib import crc32

from server.domain.channels import ChannelName
from server.domain.events import EventPublished
from server.domain.identity import Author, UserId
from server.domain.presence import UserStatus
from server.domain.values import value

ONLINE_LOGS = 16
"""Logs of users that come and go: each has the rate of a channel."""

_BEGINNING = "~online:"

PATTERN = f"{_BEGINNING}*"
"""Covers the logs of notices, as a pattern of an endpoint."""

MARU = Author(UserId("maru"), None)
"""Writes notices."""

ONLINE, OFFLINE = "user.online", "user.offline"


@value
class Notice:
    """A user came online, or went offline. Notices with the same `key` are one."""

    user: UserId
    online: bool
    key: str

    @property
    def log(self) -> ChannelName:
        """The log that keeps it: the notices of a user are in order."""
        return ChannelName(f"{_BEGINNING}{crc32(self.user.encode()) % ONLINE_LOGS}")

    @property
    def name(self) -> str:
        """Its type."""
        return ONLINE if self.online else OFFLINE


def notice_of(status: UserStatus, key: str) -> Notice:
    """Return the notice of a change."""
    return Notice(status.user, status.online, key)


def keeps_notices(channel: ChannelName) -> bool:
    """Say whether a log is one of notices."""
    return channel.startswith(_BEGINNING)


def told(event: EventPublished) -> dict[str, Any]:
    """Return the data of a notice that a log has kept: the user, and the place, by which a repeat is known."""
    return {"user": event.data["user"], "channel": event.channel, "epoch": event.epoch, "offset": event.offset}
