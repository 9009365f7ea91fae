"""Reading marks as JSON."""

from collections.abc import Sequence

from server.domain.marks import INBOX_TEXT_CHARS, InboxEntry, InboxPage, Mark, Receipt
from server.domain.messages import Message, Tombstone
from server.wire.messages import author
from server.wire.words import Json, timestamp


def marked(value: Mark) -> Json:
    """The ack of `read:mark`."""
    return {"offset": value.offset, "unread": value.unread, "unread_mentions": value.unread_mentions}


def receipts(values: Sequence[Receipt]) -> Json:
    """The ack of `receipts:read`."""
    return {"read": [{"user": value.user, "offset": value.offset} for value in values]}


def inbox(page: InboxPage) -> Json:
    """The ack of `inbox:read`, and the body of `inbox:state`."""
    return {"channels": [_entry(entry) for entry in page.entries], "next": page.next}


def _entry(entry: InboxEntry) -> Json:
    mark = entry.mark
    return {
        "channel": entry.channel,
        "epoch": mark.head.epoch,
        "offset": mark.head.offset,
        "last": _last(entry.last, entry.last_at),
        "read_offset": mark.offset,
        "unread": mark.unread,
        "unread_mentions": mark.unread_mentions,
    }


def _last(last: Message | Tombstone | None, at: int | None) -> Json | None:
    if last is None:
        return None
    when = None if at is None else timestamp(at)
    if isinstance(last, Tombstone):
        return {"id": last.id, "author": None, "text": None, "at": when, "deleted": True}
    return {"id": last.id, "author": author(last.author), "text": last.text[:INBOX_TEXT_CHARS], "at": when}
