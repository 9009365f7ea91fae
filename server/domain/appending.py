"""The rules of the log: the event that a draft becomes, or the reason why it becomes none.

Pure: an adapter looks up what its log holds of the message, asks, then writes. An adapter whose store decides by itself
(the script of the Redis log) takes the refusals from here, so that a refusal has one text whatever the log.
"""

from dataclasses import replace
from typing import assert_never

from server.domain.drafts import Deletion, Draft, NewMessage, Record, Revision
from server.domain.errors import Conflict, NotFound, RateLimited
from server.domain.events import (
    EventPublished,
    MessageChange,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageEvent,
    ReactionChanged,
)
from server.domain.messages import Message, MessageId, Position
from server.domain.rates import Bucket
from server.domain.values import value


@value
class Appended:
    """The event that a draft became. `duplicate`: nothing was written now, because an earlier draft with the same key,
    or an earlier deletion of the same message, had become this event already. `hinted`: the log has hinted at the event
    to all replicas by itself, so nobody else needs to."""

    event: MessageEvent
    duplicate: bool
    hinted: bool = False


@value
class Settled:
    """A reaction is as its user wants it. `event` tells of the change; None if that is too little to be told
    (`reactions.is_told`), or if the reaction was so before (`duplicate`). `position` is that of the event, or of the
    message's last event so far. `hinted` as in `Appended`."""

    position: Position
    event: ReactionChanged | None
    duplicate: bool
    hinted: bool = False


def decide(draft: Draft, present: MessageChange | None, position: Position) -> Appended:
    """Return the event that the draft becomes at `position`, which is the channel's next.

    `present` is the last event that changed the message; None if the log holds no message with the draft's id. Before
    it asks, the caller looks up the draft's idempotency key; after, it writes the event unless that is a duplicate.
    Raises `NotFound`, `Conflict`.
    """
    match draft:
        case NewMessage():
            if present is not None:
                raise id_taken()
            return Appended(created(draft, position), duplicate=False)
        case Revision():
            message = _editable(present)
            state = revised(message, draft)
            event = MessageEdited(draft.channel, position.epoch, position.offset, draft.at, state)
            return Appended(event, duplicate=False)
        case Deletion():
            return _deleted(draft, present, position)
        case never:
            assert_never(never)


def created(draft: NewMessage, position: Position) -> MessageCreated:
    """Return the event that a new message becomes at `position`."""
    # By position, in the order of the class: a call of a class by names takes three times as long.
    message = Message(
        draft.id,
        draft.channel,
        draft.author,
        draft.text,
        draft.data,
        draft.reply_to,
        draft.key,
        draft.at,
        None,
        1,
        position.offset,
        None,
        draft.mentions,
    )
    return MessageCreated(draft.channel, position.epoch, position.offset, draft.at, message)


def published(draft: Record, position: Position) -> EventPublished:
    """Return the event that a record becomes at `position`."""
    place = (draft.channel, position.epoch, position.offset, draft.at)
    return EventPublished(*place, draft.name, draft.author, draft.data, draft.key)


def recreated(repeat: NewMessage, id: MessageId, at: int, position: Position) -> MessageCreated:
    """Rebuild a creation that the log has dropped, for a draft that repeats its key.

    A key outlives its event: `id`, `at` and `position` of the first message are kept beside the key, its content is
    not. The content of the repeat stands in, which is the same if the client keeps to the protocol.
    """
    return created(replace(repeat, id=id, at=at), position)


def revised(message: Message, revision: Revision) -> Message:
    """Return the message's next state."""
    return replace(
        message,
        text=revision.text,
        data=message.data if revision.keep_data else revision.data,
        edited_at=revision.at,
        edited_by=revision.by,
        version=message.version + 1,
    )


def not_found() -> NotFound:
    """Return the refusal of a change to a message that the channel does not hold."""
    return NotFound("no such message in the channel, or older than its retention")


def already_deleted() -> Conflict:
    """Return the refusal of an edit of a deleted message."""
    return Conflict("the message has been deleted")


def too_many_events(wait_s: float) -> RateLimited:
    """Return the refusal of a draft whose channel has had its rate of events."""
    return RateLimited.by(Bucket.CHANNEL, wait_s, "too many events in the channel; others write to it, too")


def id_taken() -> Conflict:
    """Return the refusal of a new message with the id of another message."""
    return Conflict("the message id is taken")


def _editable(present: MessageChange | None) -> Message:
    if present is None:
        raise not_found()
    if isinstance(present, MessageDeleted):
        raise already_deleted()
    return present.message


def _deleted(deletion: Deletion, present: MessageChange | None, position: Position) -> Appended:
    if present is None:
        raise not_found()
    if isinstance(present, MessageDeleted):
        return Appended(present, duplicate=True)
    event = MessageDeleted(deletion.channel, position.epoch, position.offset, deletion.at, deletion.id, deletion.by)
    return Appended(event, duplicate=False)
