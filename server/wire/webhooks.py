"""The bodies of requests to webhooks: `{type, timestamp, data}`, as Standard Webhooks has it; and dead letters."""

from collections.abc import Sequence

import orjson

from server.domain.dispatching import DeadLetter, Replayed
from server.domain.events import EventPublished, LogEvent
from server.domain.messages import Position
from server.domain.notices import SUBJECT, keeps_notices, told
from server.domain.webhooks import ChannelGap, WebhookType, type_of
from server.wire.messages import encode
from server.wire.words import Json, timestamp


def notice(event: LogEvent | ChannelGap) -> bytes:
    """An event as the body of a request. `data` is the event as clients are given it; a notice has a
    user, a channel, or the event of a message with users that miss it."""
    if isinstance(event, ChannelGap):
        return _object(WebhookType.CHANNEL_GAP, event.at, orjson.dumps(_gap(event)))
    kind = type_of(event)
    assert kind is not None  # an event that clients are given has a type
    if isinstance(event, EventPublished) and keeps_notices(event.channel):
        return _object(kind, event.at, _noticed(event))
    return _object(kind, event.at, encode(event).json)


def batch(notices: Sequence[bytes], at: int) -> bytes:
    """Several events as the body of a request. Its time is that of its last event."""
    return _object("batch", at, b'{"events":[%b]}' % b",".join(notices))


def dead_letters(letters: Sequence[DeadLetter], *, more: bool) -> Json:
    """A page of dead letters."""
    page: Json = {"letters": [_dead_letter(letter) for letter in letters]}
    return page | ({"next": letters[-1].id} if more else {})


def replayed(value: Replayed) -> Json:
    """The fate of dead letters that were sent again."""
    body: Json = {"replayed": value.replayed, "gone": value.gone, "more": value.more}
    return body if value.failed is None else body | {"failed": value.failed}


def _dead_letter(letter: DeadLetter) -> Json:
    return {
        "id": letter.id,
        "channel": letter.channel,
        "epoch": letter.epoch,
        "first": letter.first,
        "last": letter.last,
        "reason": letter.reason,
        "failed_at": timestamp(letter.failed_at),
    }


def _object(kind: str, at: int, data: bytes) -> bytes:
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (kind.encode(), timestamp(at).encode(), data)


def _noticed(event: EventPublished) -> bytes:
    if SUBJECT not in event.data:
        return orjson.dumps(told(event))
    return b'%b,"users":%b}' % (encode(event.data[SUBJECT]).json[:-1], orjson.dumps(event.data["users"]))


def _gap(gap: ChannelGap) -> Json:
    start, end = _position(gap.start), _position(gap.end)
    return {"channel": gap.channel, "from": start, "to": end, "reason": gap.reason.value}


def _position(position: Position) -> Json:
    return {"epoch": position.epoch, "offset": position.offset}
