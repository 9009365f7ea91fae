"""The next step for a channel that owes an endpoint something: pure, from what the log has at this moment."""

from collections.abc import Callable, Sequence

from server.domain.dispatching import Debt
from server.domain.events import Event, LogEvent, UnknownEvent
from server.domain.messages import Position
from server.domain.recovery import NotResumable
from server.domain.values import value
from server.domain.webhooks import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, ChannelGap, Endpoint
from server.ports.message_log import Replay

Encode = Callable[[LogEvent | ChannelGap], bytes]
"""Encode an event as the JSON object that stands in a request."""


@value
class PassOver:
    """There is nothing to tell up to `to`."""

    to: Position


@value
class Tell:
    """Send events; they are those from `first` to `last` that the endpoint wants. Then the channel's place is `to`."""

    first: int
    last: int
    to: Position
    events: Sequence[LogEvent]
    bodies: Sequence[bytes]


@value
class TellOfGap:
    """Tell of events that are gone. Then the channel's place is the end of the gap."""

    gap: ChannelGap


Step = PassOver | Tell | TellOfGap
"""Closed: match it exhaustively."""


def events_to_read(endpoint: Endpoint, debt: Debt) -> int:
    """Return how many events of the channel the next step needs. If the endpoint does not want all, more are read, so
    that those that it does not want are passed over in few steps."""
    if not endpoint.covers(debt.channel):
        return 0
    return endpoint.batch if endpoint.wants_all else MAX_BATCH_EVENTS


def next_step(endpoint: Endpoint, debt: Debt, replay: Replay, until: int | None, encode: Encode, now_ms: int) -> Step:
    """Return what to do for the channel. `until` is the last offset of a request that failed: its next try goes no
    further, so that it has the same id."""
    head = replay.head
    if not endpoint.covers(debt.channel):
        return PassOver(head)
    place = debt.place(head)
    if place != debt.delivered or place.offset < replay.floor:
        reason = NotResumable.EXPIRED if place == debt.delivered else NotResumable.EPOCH_CHANGED
        end = Position(head.epoch, max(place.offset, replay.floor))
        return TellOfGap(ChannelGap(debt.channel, debt.delivered, end, reason, now_ms))
    if not replay.events:
        return PassOver(head)
    return _tell(endpoint, replay.events, until, encode)


def _tell(endpoint: Endpoint, events: Sequence[Event], until: int | None, encode: Encode) -> Step:
    told, bodies, size = list[LogEvent](), list[bytes](), 0
    to = events[-1].offset
    for event in events:
        if isinstance(event, UnknownEvent) or not endpoint.wants(event):
            continue
        beyond = told and until is not None and event.offset > until
        body = b"" if beyond or len(told) == endpoint.batch else encode(event)
        if not body or (told and size + len(body) > MAX_BATCH_BYTES):
            to = event.offset - 1
            break
        told.append(event)
        bodies.append(body)
        size += len(body) + 1
    place = Position(events[-1].epoch, to)
    if not told:
        return PassOver(place)
    return Tell(told[0].offset, told[-1].offset, place, told, bodies)
