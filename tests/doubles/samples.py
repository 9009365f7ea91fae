"""Sample users, messages and events. They differ only in the attributes that a test names."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from server.domain.appending import created
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.events import Event, EventPublished, LogEvent, MessageCreated, ReactionChanged, UnknownEvent
from server.domain.identity import Action, Author, CompiledGrants, Identity, UserId
from server.domain.messages import MessageId, Position, message_id
from server.domain.reactions import Reacted
from server.domain.rings import RINGS_BYTES, EncodedEvent, Rings
from server.wire.messages import encode, erase

ROOM = ChannelName("room:1")
NOW_MS = 1_700_000_000_000
NOW_NS = NOW_MS * 1_000_000
HOUR_MS = 3_600_000
ALL_ACTIONS = frozenset(Action)


def identity(
    user: str = "alice",
    grants: Mapping[str, Sequence[str]] | None = None,
    expires_at: int = NOW_MS + HOUR_MS,
    *,
    token_id: str | None = None,
    issued_at: int | None = None,
    key_id: str | None = None,
) -> Identity:
    """A verified token. If no grants are given, it allows everything everywhere."""
    given = {"*": [*Action]} if grants is None else grants
    named = {pattern: frozenset(Action(action) for action in actions) for pattern, actions in given.items()}
    compiled = CompiledGrants(named)
    return Identity(UserId(user), user.title(), compiled, expires_at, token_id, issued_at=issued_at, key_id=key_id)


def some_id(number: int) -> MessageId:
    """The message id with this number: equal numbers, equal ids."""
    return message_id(NOW_MS + number, Random(number).randbytes(10))


def new_message(
    number: int, channel: ChannelName = ROOM, *, key: str | None = None, user: str = "alice", text: str | None = None
) -> NewMessage:
    """A draft whose text is its number."""
    return NewMessage(
        channel=channel,
        id=some_id(number),
        author=Author(UserId(user), user.title()),
        text=f"number {number}" if text is None else text,
        data=None,
        reply_to=None,
        key=key,
        at=NOW_MS + number,
    )


def event(offset: int, epoch: str = "one", channel: ChannelName = ROOM) -> MessageCreated:
    """The creation at this offset."""
    return created(new_message(offset, channel), Position(epoch, offset))


def reacted(offset: int, epoch: str = "one", channel: ChannelName = ROOM) -> ReactionChanged:
    """The event of a first reaction, to message 1, at this offset."""
    reactions = (Reacted("👍", 1, (UserId("alice"),)),)
    return ReactionChanged(channel, epoch, offset, NOW_MS + offset, some_id(1), reactions)


def published(offset: int, epoch: str = "one", channel: ChannelName = ROOM) -> EventPublished:
    """An application's event at this offset, which is its data, too."""
    author = Author(UserId("alice"), "Alice")
    return EventPublished(channel, epoch, offset, NOW_MS + offset, "order.paid", author, {"number": offset}, None)


def unknown(offset: int, epoch: str = "one", channel: ChannelName = ROOM) -> UnknownEvent:
    """The entry of an unknown kind at this offset."""
    return UnknownEvent(channel, epoch, offset, NOW_MS + offset, "pinned")


def event_range(after: int, upto: int, epoch: str = "one", channel: ChannelName = ROOM) -> tuple[LogEvent, ...]:
    """The creations at the offsets after + 1 .. upto."""
    return tuple(event(offset, epoch, channel) for offset in range(after + 1, upto + 1))


def sample_rings(budget: int = RINGS_BYTES) -> Rings:
    """Rings as a replica has them."""
    return Rings(encode, erase, budget)


def encoded(events: Iterable[Event]) -> tuple[EncodedEvent, ...]:
    """The events as clients are given them in a replay."""
    return tuple(encode(event) for event in events)


def nested(levels: int) -> object:
    """Empty lists nested in each other, `levels` deep."""
    value: object = []
    for _ in range(levels - 1):
        value = [value]
    return value
