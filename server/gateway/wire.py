"""The wire as names, numbers and shapes: the code twin of PROTOCOL.md (a test holds the two together).

Pure translation from domain values to the JSON that clients see; it decides nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any

from server.application import commands
from server.domain.errors import MaruError
from server.domain.messages import (
    Event,
    Message,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    Position,
    Tombstone,
)
from server.domain.recovery import REPLAY_LIMIT, Lapse
from server.ports.message_log import Page
from server.ports.transport import (
    ChannelRemoved,
    ChannelResumed,
    Push,
    SessionDraining,
    SessionExpiring,
    SessionReady,
)

NAMESPACE = "/chat"
"""The one namespace that accepts anybody."""

MAX_PAYLOAD = 65_536
"""Bytes of a WebSocket message from a client; announced as `maxPayload`."""

Json = dict[str, Any]


class Command(StrEnum):
    """What a client may say (PROTOCOL.md, "Commands")."""

    JOIN = "channel:join"
    LEAVE = "channel:leave"
    SEND = "message:send"
    EDIT = "message:edit"
    DELETE = "message:delete"
    HISTORY = "history:read"
    REFRESH = "auth:refresh"


class ServerEvent(StrEnum):
    """What the server may say (PROTOCOL.md, "Events")."""

    MESSAGE_CREATED = "message:created"
    MESSAGE_EDITED = "message:edited"
    MESSAGE_DELETED = "message:deleted"
    CHANNEL_RESUMED = "channel:resumed"
    CHANNEL_REMOVED = "channel:removed"
    SESSION_READY = "session:ready"
    SESSION_EXPIRING = "session:expiring"
    SESSION_DRAINING = "session:draining"
    SESSION_TERMINATED = "session:terminated"


class CloseCode(IntEnum):
    """Why the server closes a WebSocket (PROTOCOL.md, "Closing"; RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


@lru_cache(maxsize=1_024)
def timestamp(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. `2026-01-31T12:00:00.000Z`. Most are asked for again in the same breath:
    an event is as old as its message, and the events of a busy moment share it."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"


def message(value: Message | Tombstone) -> Json:
    """A message in one of its states."""
    if isinstance(value, Tombstone):
        return {"id": value.id, "channel": value.channel, "deleted": True, "offset": value.offset}
    return {
        "id": value.id,
        "channel": value.channel,
        "author": {"id": value.author.id, "name": value.author.name},
        "text": value.text,
        "data": value.data,
        "reply_to": value.reply_to,
        "key": value.key,
        "created_at": timestamp(value.created_at),
        "edited_at": None if value.edited_at is None else timestamp(value.edited_at),
        "version": value.version,
        "reactions": {},
        "offset": value.offset,
    }


def log_event(event: Event) -> tuple[ServerEvent, Json]:
    """A log event's name and body."""
    position = {
        "channel": event.channel,
        "epoch": event.epoch,
        "offset": event.offset,
        "at": timestamp(event.at),
    }
    match event:
        case MessageCreated():
            return ServerEvent.MESSAGE_CREATED, position | {"message": message(event.message)}
        case MessageEdited():
            return ServerEvent.MESSAGE_EDITED, position | {"message": message(event.message)}
        case MessageDeleted():
            gone = {"id": event.id, "channel": event.channel, "deleted": True}
            return ServerEvent.MESSAGE_DELETED, position | {"message": gone}


def events(values: Sequence[Event]) -> list[Json]:
    """Whole log events as they stand in `channel:join`'s ack and in `channel:resumed`."""
    named = (log_event(value) for value in values)
    return [{"event": name.value, **body} for name, body in named]


def replayed(position: Position, recovered: bool | None, lapse: Lapse | None, missed: Sequence[Event]) -> Json:
    """The part that `channel:join`'s ack and `channel:resumed` have in common."""
    body: Json = {"epoch": position.epoch, "offset": position.offset, "recovered": recovered}
    if lapse is not None:
        body["reason"] = lapse.value
    return body | {"events": events(missed)}


def push(value: Push, ready: Json) -> tuple[ServerEvent, Json]:
    """What is said to one session: name and body. `ready` is what `session:ready` says of the server."""
    match value:
        case ChannelResumed(channel, position, lapse, missed):
            body = replayed(position, lapse is None, lapse, missed)
            return ServerEvent.CHANNEL_RESUMED, {"channel": channel} | body
        case ChannelRemoved(channel, error):
            return ServerEvent.CHANNEL_REMOVED, {"channel": channel, "code": error.code}
        case SessionReady(session, user, expires_at):
            body = {"user": user, "session": session, "expires_at": timestamp(expires_at)}
            return ServerEvent.SESSION_READY, body | ready
        case SessionExpiring(expires_at):
            return ServerEvent.SESSION_EXPIRING, {"expires_at": timestamp(expires_at)}
        case SessionDraining(reconnect_in_ms, deadline_ms):
            body = {"reconnect_in_ms": reconnect_in_ms, "deadline_ms": deadline_ms}
            return ServerEvent.SESSION_DRAINING, body


def greeting(ping_interval_s: float, ping_timeout_s: float, max_channels: int, version: str) -> Json:
    """What `session:ready` says of the server: heartbeat, limits, version."""
    return {
        "heartbeat": {"interval_ms": round(ping_interval_s * 1000), "timeout_ms": round(ping_timeout_s * 1000)},
        "limits": {
            "payload_bytes": MAX_PAYLOAD,
            "text_chars": commands.MAX_TEXT_CHARS,
            "data_bytes": commands.MAX_DATA_BYTES,
            "key_chars": commands.MAX_KEY_CHARS,
            "channels": max_channels,
            "resume_channels": commands.MAX_RESUME_CHANNELS,
            "resume_events": REPLAY_LIMIT,
            "page": commands.MAX_PAGE,
        },
        "server": {"version": version},
    }


def page(value: Page) -> Json:
    """The ack of `history:read`."""
    return {
        "messages": [message(item) for item in value.messages],
        "epoch": value.head.epoch,
        "offset": value.head.offset,
        "more": value.more,
    }


def error(value: MaruError) -> Json:
    """A failure as it stands in an ack, in CONNECT_ERROR's `data` and in a refused handshake."""
    body: Json = {"code": value.code, "message": value.message, "retryable": value.retryable}
    if value.retry_after_ms is not None:
        body["retry_after_ms"] = value.retry_after_ms
    if value.details is not None:
        body["details"] = dict(value.details)
    return body


def ok(**fields: object) -> Json:
    """The envelope of an ack that reports success."""
    return {"ok": True, **fields}


def failed(value: MaruError) -> Json:
    """The envelope of an ack that reports a failure."""
    return {"ok": False, "error": error(value)}


def connect_error(value: MaruError) -> Json:
    """The data of a CONNECT_ERROR packet."""
    return {"message": value.code, "data": {"code": value.code, "message": value.message, "retryable": value.retryable}}


def terminated(value: MaruError) -> Json:
    """The body of `session:terminated`."""
    return {"code": value.code, "message": value.message}
