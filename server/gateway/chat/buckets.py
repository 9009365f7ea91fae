"""The second bucket of each command, beside that of the session (PROTOCOL.md, "Limits")."""

from collections.abc import Mapping

from server.domain.rates import Bucket
from server.wire.words import Command

BUCKETS: Mapping[str, Bucket | None] = {
    Command.JOIN: Bucket.JOIN,
    Command.LEAVE: None,
    Command.SEND: Bucket.SEND,
    Command.EDIT: Bucket.SEND,
    Command.DELETE: Bucket.SEND,
    Command.HISTORY: Bucket.READ,
    Command.TYPING_START: Bucket.TYPING,
    Command.TYPING_STOP: Bucket.TYPING,
    Command.MARK: Bucket.MARK,
    Command.RECEIPTS: Bucket.READ,
    Command.REACT: Bucket.SEND,
    Command.UNREACT: Bucket.SEND,
    Command.PUBLISH: None,  # until the payload is known
    Command.EVENTS: Bucket.READ,
    Command.FOLLOW: Bucket.JOIN,
    Command.UNFOLLOW: Bucket.JOIN,
    Command.INBOX: Bucket.INBOX,
    Command.REFRESH: Bucket.REFRESH,
    Command.PRESENCE: Bucket.READ,
}

LOGGED, EMITTED = f"{Command.PUBLISH}, logged", f"{Command.PUBLISH}, not logged"

LATER: Mapping[str, Bucket] = {LOGGED: Bucket.SEND, EMITTED: Bucket.EMIT}
"""The buckets that a command is taken from once its payload is known."""
