"""Presence as JSON."""

from collections.abc import Mapping, Sequence

from server.domain.channels import ChannelName
from server.domain.presence import MemberJoined, MemberLeft, MembersCounted, Present, Roster, RosterHead, UserStatus
from server.wire.words import Json, ServerEvent, timestamp


def changed(value: MemberJoined | MemberLeft | MembersCounted) -> tuple[str, Json]:
    """Return the name and the body of what members are told."""
    match value:
        case MemberJoined(channel, user, name, head):
            return ServerEvent.PRESENCE_JOINED.value, _of_user(channel, user, name, head)
        case MemberLeft(channel, user, name, head):
            return ServerEvent.PRESENCE_LEFT.value, _of_user(channel, user, name, head)
        case MembersCounted(channel, head, names):
            body = {"channel": channel, "count": head.count, "epoch": head.epoch, "version": head.version}
            return ServerEvent.PRESENCE_COUNT.value, {**body, "names": names}


def roster(value: Roster) -> Json:
    """Return the answer to `presence:read`."""
    head = value.head
    return {
        "members": [member(present) for present in value.members],
        "count": head.count,
        "epoch": head.epoch,
        "version": head.version,
        "complete": value.complete,
    }


def member(value: Present) -> Json:
    """Return a member of a roster."""
    return {"user": value.user, "name": value.name, "since": timestamp(value.since)}


def heads(value: Mapping[ChannelName, RosterHead], channels: Sequence[ChannelName]) -> Json:
    """Return how many users are in each of some channels, in their order."""
    places = ((name, value[name]) for name in channels)
    return {
        "channels": [
            {"channel": name, "count": head.count, "epoch": head.epoch, "version": head.version}
            for name, head in places
        ]
    }


def statuses(value: Sequence[UserStatus]) -> Json:
    """Return whether users are online."""
    return {"users": [_status(each) for each in value]}


def _status(value: UserStatus) -> Json:
    seen = None if value.last_seen is None else timestamp(value.last_seen)
    return {"user": value.user, "online": value.online, "sessions": value.sessions, "last_seen": seen}


def _of_user(channel: ChannelName, user: str, name: str | None, head: RosterHead) -> Json:
    place = {"epoch": head.epoch, "version": head.version, "count": head.count}
    return {"channel": channel, "user": user, "name": name, **place}
