"""Reading marks as JSON."""

from collections.abc import Sequence

from server.domain.marks import Mark, Receipt
from server.wire.words import Json


def marked(value: Mark) -> Json:
    """The ack of `read:mark`."""
    return {"offset": value.offset, "unread": value.unread, "unread_mentions": value.unread_mentions}


def receipts(values: Sequence[Receipt]) -> Json:
    """The ack of `receipts:read`."""
    return {"read": [{"user": value.user, "offset": value.offset} for value in values]}
