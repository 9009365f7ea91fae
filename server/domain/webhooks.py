"""Webhooks as values: endpoints, the types of events that they are told, and answers (PROTOCOL.md, "Webhooks")."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never
from uuid import UUID, uuid5

from server.domain.channels import ChannelName
from server.domain.dispatching import covers, fits
from server.domain.events import (
    Event,
    EventPublished,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    UnknownEvent,
)
from server.domain.messages import Position
from server.domain.notices import (
    KINDS,
    MISSED,
    NAMES,
    OCCUPIED,
    OFFLINE,
    ONLINE,
    VACATED,
    channel_of,
    keeps_notices,
    kept_in,
)
from server.domain.recovery import NotResumable
from server.domain.signing import SigningKey
from server.domain.values import value

MAX_BATCH_EVENTS = 100
MAX_BATCH_BYTES = 256 * 1024
"""Of the events in a request. Four events of the largest size fit."""

_IDS = UUID("8f1c9a52-6a0e-5f0c-9a5b-3d2f4c1e7b60")
"""The namespace of the ids of requests."""


class WebhookType(StrEnum):
    """The types of events, as they stand in `type`. Closed."""

    MESSAGE_CREATED = "message.created"
    MESSAGE_EDITED = "message.edited"
    MESSAGE_DELETED = "message.deleted"
    REACTION_CHANGED = "reaction.changed"
    EVENT_PUBLISHED = "event.published"
    CHANNEL_GAP = "channel.gap"
    USER_ONLINE = ONLINE
    USER_OFFLINE = OFFLINE
    CHANNEL_OCCUPIED = OCCUPIED
    CHANNEL_VACATED = VACATED
    MESSAGE_OFFLINE = MISSED


LOGGED = frozenset(
    {
        WebhookType.MESSAGE_CREATED,
        WebhookType.MESSAGE_EDITED,
        WebhookType.MESSAGE_DELETED,
        WebhookType.REACTION_CHANGED,
        WebhookType.EVENT_PUBLISHED,
    }
)
"""The types that events of the log have."""


@value
class ChannelGap:
    """Events of a channel that an endpoint will not get: all behind `start`, up to `end`. The log has dropped them, or
    has another epoch by now. Noticed `at`, in milliseconds since the epoch."""

    channel: ChannelName
    start: Position
    end: Position
    reason: NotResumable
    at: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver. Its name is shown to operators; its URL may hold a secret, and is not. `keys`: the present, and
    perhaps the previous. `channels` are patterns as in grants; none: all channels."""

    name: str
    url: str = field(repr=False)
    keys: tuple[SigningKey, ...]
    types: frozenset[WebhookType] = frozenset(WebhookType)
    channels: tuple[str, ...] = ()
    batch: int = 1
    from_start: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of the logs that owe the endpoint events; none: all."""
        logs = [f"{beginning}*" for beginning, names in KINDS.items() if self.types & names]
        return (*self.channels, *logs) if self.channels else ()

    def covers(self, channel: ChannelName) -> bool:
        """Say whether the endpoint is told of this channel, or of notices in this log."""
        return bool(self.types & kept_in(channel)) if keeps_notices(channel) else covers(self.channels, channel)

    @property
    def wants_all(self) -> bool:
        """Whether the endpoint is told of every event of its channels."""
        return self.types >= LOGGED

    def wants(self, event: Event) -> bool:
        """Say whether the endpoint is told of events of this type and, if it is a notice of a channel, of that."""
        if type_of(event) not in self.types:
            return False
        if not (isinstance(event, EventPublished) and keeps_notices(event.channel)):
            return True
        channel = channel_of(event)
        return channel is None or covers(self.channels, channel)


@value
class Answer:
    """How a request ended. `retry_after_s`: the receiver's wish, if it had any."""

    outcome: "Outcome"
    status: int | None = None
    retry_after_s: float | None = None

    def told(self) -> str:
        """Return the answer for operators."""
        return self.outcome if self.status is None else f"{self.outcome} ({self.status})"


class Outcome(StrEnum):
    """How a request may end."""

    ACCEPTED = "accepted"
    """2xx."""
    REDIRECTED = "redirected"
    """3xx, which is not followed."""
    REFUSED = "refused"
    """4xx, except the next two: the same request will hardly be taken later."""
    GONE = "gone"
    """410: the endpoint wants no more."""
    BUSY = "busy"
    """408, 425 or 429."""
    FAILED = "failed"
    """5xx, or no HTTP."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    """No connection, or a connection that was lost."""


def outcome_of(status: int) -> Outcome:
    """Return how a request ended that was answered with this status."""
    match status // 100, status:
        case 2, _:
            return Outcome.ACCEPTED
        case 3, _:
            return Outcome.REDIRECTED
        case 4, 410:
            return Outcome.GONE
        case 4, 408 | 425 | 429:
            return Outcome.BUSY
        case 4, _:
            return Outcome.REFUSED
        case _:
            return Outcome.FAILED


def type_of(event: Event) -> WebhookType | None:
    """Return the type of a log event; None for an entry of an unknown kind, which nobody is told of."""
    match event:
        case MessageCreated():
            return WebhookType.MESSAGE_CREATED
        case MessageEdited():
            return WebhookType.MESSAGE_EDITED
        case MessageErased():
            return WebhookType.MESSAGE_EDITED if event.edited else WebhookType.MESSAGE_CREATED
        case MessageDeleted():
            return WebhookType.MESSAGE_DELETED
        case ReactionChanged():
            return WebhookType.REACTION_CHANGED
        case EventPublished():
            if not keeps_notices(event.channel):
                return WebhookType.EVENT_PUBLISHED
            return WebhookType(event.name) if event.name in NAMES else None
        case UnknownEvent():
            return None
        case _:
            assert_never(event)


def types_of(patterns: Iterable[str]) -> frozenset[WebhookType]:
    """Return the types that patterns such as `message.*` cover. Raises `ValueError` for a pattern that covers none."""
    found = set[WebhookType]()
    for pattern in patterns:
        covered = {each for each in WebhookType if fits(pattern, each)}
        if not covered:
            raise ValueError(f"{pattern!r} covers no type of event; the types are {', '.join(WebhookType)}")
        found |= covered
    return frozenset(found)


def request_id(endpoint: str, channel: ChannelName, epoch: str, first: int, last: int) -> str:
    """Return the id of a request with the events `first` to `last`: the same at each try, and on each replica."""
    return str(uuid5(_IDS, f"{endpoint} {channel} {epoch} {first} {last}"))


def gap_id(endpoint: str, gap: ChannelGap) -> str:
    """Return the id of a request that tells of a gap."""
    start, end = gap.start, gap.end
    return str(uuid5(_IDS, f"{endpoint} {gap.channel} gap {start.epoch} {start.offset} {end.epoch} {end.offset}"))
