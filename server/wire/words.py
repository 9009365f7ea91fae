"""Names of the protocol, and how a time is written (PROTOCOL.md)."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

NAMESPACE = "/chat"
"""The only namespace that accepts clients."""

Json = dict[str, Any]


class Command(StrEnum):
    """Names of commands (PROTOCOL.md, "Commands")."""

    JOIN = "channel:join"
    LEAVE = "channel:leave"
    SEND = "message:send"
    EDIT = "message:edit"
    DELETE = "message:delete"
    HISTORY = "history:read"
    TYPING_START = "typing:start"
    TYPING_STOP = "typing:stop"
    MARK = "read:mark"
    RECEIPTS = "receipts:read"
    REACT = "reaction:add"
    UNREACT = "reaction:remove"
    PUBLISH = "event:publish"
    EVENTS = "events:read"
    PRESENCE = "presence:read"
    FOLLOW = "channel:follow"
    UNFOLLOW = "channel:unfollow"
    INBOX = "inbox:read"
    REFRESH = "auth:refresh"


class Operation(StrEnum):
    """Names of the HTTP API's operations (PROTOCOL.md, "HTTP API"): in its description, in log lines and metrics."""

    POST_MESSAGE = "postMessage"
    EDIT_MESSAGE = "editMessage"
    DELETE_MESSAGE = "deleteMessage"
    ADD_REACTION = "addReaction"
    REMOVE_REACTION = "removeReaction"
    PUBLISH_EVENT = "publishEvent"
    READ_MESSAGES = "readMessages"
    BROADCAST = "broadcast"
    REVOKE = "revoke"
    READ_REVOCATIONS = "readRevocations"
    LIFT_REVOCATION = "liftRevocation"
    REMOVE_MEMBER = "removeMember"
    END_SESSIONS = "endSessions"
    FOLLOW = "follow"
    UNFOLLOW = "unfollow"
    ASK_REFRESH = "askRefresh"
    ERASE_MESSAGES = "eraseMessages"
    READ_PRESENCE = "readPresence"
    COUNT_PRESENT = "countPresent"
    READ_STATUS = "readStatus"
    READ_DEAD_LETTERS = "readDeadLetters"
    REPLAY_DEAD_LETTERS = "replayDeadLetters"
    READ_DESCRIPTION = "readDescription"


class ServerEvent(StrEnum):
    """Names of the server's events (PROTOCOL.md, "Events")."""

    MESSAGE_CREATED = "message:created"
    MESSAGE_EDITED = "message:edited"
    MESSAGE_DELETED = "message:deleted"
    TYPING_CHANGED = "typing:changed"
    INBOX_STATE = "inbox:state"
    READ_UPDATED = "read:updated"
    REACTION_CHANGED = "reaction:changed"
    EVENT_PUBLISHED = "event:published"
    PRESENCE_JOINED = "presence:joined"
    PRESENCE_LEFT = "presence:left"
    PRESENCE_COUNT = "presence:count"
    CHANNEL_RESUMED = "channel:resumed"
    CHANNEL_REMOVED = "channel:removed"
    SESSION_READY = "session:ready"
    SESSION_EXPIRING = "session:expiring"
    SESSION_DRAINING = "session:draining"
    SESSION_TERMINATED = "session:terminated"


@lru_cache(maxsize=1_024)
def timestamp(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. `2026-01-31T12:00:00.000Z`. Cached: an event and its message have the
    same time, and so have the events of a busy moment."""
    return f"{_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(unix_s: int) -> str:
    """Return a timestamp up to its seconds. Cached: a second has up to a thousand timestamps."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"
