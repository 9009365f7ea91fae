"""Pushes to a session as JSON."""

from collections.abc import Sequence

from server.domain import limits
from server.domain.errors import MaruError
from server.domain.limits import MAX_PAYLOAD
from server.domain.presence import MemberJoined, MemberLeft, MembersCounted
from server.domain.pushes import (
    ChannelPush,
    ChannelRemoved,
    ChannelResumed,
    Emitted,
    InboxState,
    Push,
    SessionDraining,
    SessionExpiring,
    SessionReady,
)
from server.domain.recovery import REPLAY_LIMIT
from server.domain.signals import EventEmitted, ReadUpdated, TypingChanged
from server.wire import presence
from server.wire.messages import author, replayed
from server.wire.reading import inbox
from server.wire.words import Json, ServerEvent, timestamp


def push(value: Push, ready: Json) -> tuple[ServerEvent, Json]:
    """Return the name and the body of a push. `ready` is what `session:ready` says of the server."""
    match value:
        case InboxState(page):
            return ServerEvent.INBOX_STATE, inbox(page)
        case ReadUpdated(channel, user, offset):
            return ServerEvent.READ_UPDATED, {"channel": channel, "user": user, "offset": offset}
        case ChannelResumed(channel, position, reason, missed, mark):
            body = replayed(position, reason is None, reason, missed, mark)
            return ServerEvent.CHANNEL_RESUMED, {"channel": channel} | body
        case ChannelRemoved(channel, error):
            return ServerEvent.CHANNEL_REMOVED, {"channel": channel, "code": error.code}
        case SessionReady(session, user, expires_at):
            body = {"user": user, "session": session, "expires_at": timestamp(expires_at)}
            return ServerEvent.SESSION_READY, body | ready
        case SessionExpiring(expires_at, reason):
            body = {"expires_at": timestamp(expires_at)}
            return ServerEvent.SESSION_EXPIRING, body if reason is None else body | {"reason": reason}
        case SessionDraining(reconnect_in_ms, deadline_ms):
            body = {"reconnect_in_ms": reconnect_in_ms, "deadline_ms": deadline_ms}
            return ServerEvent.SESSION_DRAINING, body


def told(value: ChannelPush) -> tuple[str, Sequence[object]]:
    """Return the name and the arguments of what is said to a channel."""
    match value:
        case Emitted(name, arguments):
            return name, arguments
        case TypingChanged(channel, user, typing):
            body: Json = {"channel": channel, "user": user, "typing": typing, "expires_in_ms": limits.TYPING_EXPIRES_MS}
            return ServerEvent.TYPING_CHANGED.value, [body]
        case ReadUpdated():
            return ServerEvent.READ_UPDATED.value, [push(value, {})[1]]
        case MemberJoined() | MemberLeft() | MembersCounted():
            event, body = presence.changed(value)
            return event, [body]
        case EventEmitted(channel, name, by, data):
            return ServerEvent.EVENT_PUBLISHED.value, [
                {"channel": channel, "name": name, "author": author(by), "data": data}
            ]


def greeting(ping_interval_s: float, ping_timeout_s: float, max_channels: int, version: str) -> Json:
    """Return the part of `session:ready` about the server: heartbeat, limits, version."""
    return {
        "heartbeat": {"interval_ms": round(ping_interval_s * 1000), "timeout_ms": round(ping_timeout_s * 1000)},
        "limits": {
            "payload_bytes": MAX_PAYLOAD,
            "text_chars": limits.MAX_TEXT_CHARS,
            "data_bytes": limits.MAX_DATA_BYTES,
            "key_chars": limits.MAX_KEY_CHARS,
            "channels": max_channels,
            "resume_channels": limits.MAX_RESUME_CHANNELS,
            "resume_events": REPLAY_LIMIT,
            "page": limits.MAX_PAGE,
            "typing_ms": limits.TYPING_MS,
            "typing_expires_ms": limits.TYPING_EXPIRES_MS,
        },
        "server": {"version": version},
    }


def terminated(value: MaruError) -> Json:
    """The body of `session:terminated`."""
    return {"code": value.code, "message": value.message}
