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
    Command.REFRESH: Bucket.REFRESH,
}
