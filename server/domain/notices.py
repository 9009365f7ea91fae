"""Notices for webhooks of what stands in no channel's log: they are kept in logs of their own, which owe them to the
endpoints as all logs do. No client can name these logs: a channel's name does not begin so."""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from server.domain.channels import ChannelName
from server.domain.events import EventPublished, MessageCreated
from server.domain.identity import Author, UserId
from server.domain.presence import ChannelTurned, UserStatus
from server.domain.values import value

LOGS = 16
"""Logs of notices of a kind: each has the rate of a channel."""

USERS_TOLD = 200
"""Users that a notice of a message names, at most: a message of more has further notices."""

MARU = Author(UserId("maru"), None)
"""Writes notices."""

ONLINE, OFFLINE = "user.online", "user.offline"
OCCUPIED, VACATED = "channel.occupied", "channel.vacated"
MISSED = "message.offline"

SUBJECT = "subject"
"""Where the data of a notice of a message has the event of that, once it was read to be told."""

_USERS, _CHANNELS, _MESSAGES = "~online:", "~occupied:", "~offline:"

KINDS: Mapping[str, frozenset[str]] = {
    _USERS: frozenset({ONLINE, OFFLINE}),
    _CHANNELS: frozenset({OCCUPIED, VACATED}),
    _MESSAGES: frozenset({MISSED}),
}
"""The types of notices by the beginning of the names of their logs."""

NAMES: frozenset[str] = frozenset().union(*KINDS.values())
"""All types of notices."""


@value
class Notice:
    """Something that happened, and is to be kept in a log. Notices of a log with the same `key` are one."""

    log: ChannelName
    name: str
    data: Mapping[str, Any]
    key: str


def notice_of(status: UserStatus, key: str) -> Notice:
    """Return the notice of a user that came online, or went offline. Those of a user are in one log."""
    return Notice(_log(_USERS, status.user), ONLINE if status.online else OFFLINE, {"user": status.user}, key)


def turned(change: ChannelTurned) -> Notice:
    """Return the notice of a channel that became occupied, or vacated. Those of a channel are in one log."""
    head, channel = change.head, change.channel
    data = {"channel": channel, "roster": {"epoch": head.epoch, "version": head.version}}
    name = OCCUPIED if head.count else VACATED
    return Notice(_log(_CHANNELS, channel), name, data, f"{channel} {head.epoch} {head.version}")


def missed(event: MessageCreated, users: Sequence[UserId]) -> Sequence[Notice]:
    """Return the notices of a message for users that are offline. They hold no text: it may be deleted later."""
    about = {"channel": event.channel, "epoch": event.epoch, "offset": event.offset, "id": event.message.id}
    parts = [users[start : start + USERS_TOLD] for start in range(0, len(users), USERS_TOLD)]
    log = _log(_MESSAGES, event.channel)
    return [Notice(log, MISSED, about | {"users": part}, f"{about['id']} {n}") for n, part in enumerate(parts)]


def keeps_notices(channel: ChannelName) -> bool:
    """Say whether a log is one of notices, perhaps of a newer version."""
    return channel.startswith("~")


def kept_in(channel: ChannelName) -> frozenset[str]:
    """Return the types of notices that stand in a log of notices."""
    return KINDS.get(channel[: channel.find(":") + 1], frozenset())


def channel_of(event: EventPublished) -> ChannelName | None:
    """Return the channel that a notice is of, if it is of any."""
    name: str | None = event.data.get("channel")
    return None if name is None else ChannelName(name)


def told(event: EventPublished) -> dict[str, Any]:
    """Return the data of a notice that a log has kept: of a user or a channel, and the place, by which a repeat is
    known."""
    return {"channel": event.channel, **event.data, "epoch": event.epoch, "offset": event.offset}


def _log(beginning: str, name: str) -> ChannelName:
    return ChannelName(f"{beginning}{crc32(name.encode()) % LOGS}")
