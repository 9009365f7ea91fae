"""The events of the log as records of a topic, brought by the dispatcher of webhooks (ADR 0052).

A request to this receiver is a run of a channel's events. A record that was handed to Kafka's client is never given up:
the next try of a request waits for the same records. So a record comes behind those before it, and is there again only
if the replica, or its lead, has changed meanwhile.
"""

import asyncio
from collections.abc import Iterator, Sequence

import orjson
import structlog
from confluent_kafka import KafkaError, KafkaException

from server.adapters.kafka.client import Options, name_of
from server.adapters.kafka.producer import Headers, Records
from server.domain.errors import Unavailable
from server.domain.events import LogEvent
from server.domain.webhooks import Answer, ChannelGap, Endpoint, Outcome, WebhookType, type_of
from server.ports.webhook_sender import WebhookSender
from server.wire.messages import encode
from server.wire.words import timestamp

NAME = "~kafka"
"""Of the endpoint: no webhook of the settings can have it."""

BATCH = 100
"""Events of a request."""

SEND_S = 5.0
"""A request that Kafka has not answered within this time is tried again."""

AGAIN_S = 1.0
"""After so long."""

MOST_REQUESTS = 100
"""Requests whose records are with Kafka's client; a further one is refused until another is through."""

LINGER_MS = 2

GAP = "channel:gap"
"""The `event` of a record that tells of events that the log has lost, or dropped before they were brought."""

_FOR_GOOD = ("MSG_SIZE_TOO_LARGE", "INVALID_RECORD")
"""Answers to a record that is never taken."""

_log = structlog.get_logger("maru.kafka")

Record = tuple[bytes, bytes, Headers]
"""Key, value and headers."""


def notice(event: LogEvent | ChannelGap) -> bytes:
    """Return an event as two lines: the type and place, then the JSON object of clients with its name in `event`."""
    if isinstance(event, ChannelGap):
        kind, epoch, offset, value = WebhookType.CHANNEL_GAP, event.end.epoch, event.end.offset, _gap(event)
    else:
        found = type_of(event)
        assert found is not None  # an event that clients are given has a type
        encoded = encode(event)
        kind, epoch, offset = found, event.epoch, event.offset
        value = b'{"event":"%b",%b' % (encoded.name.encode(), encoded.json[1:])
    return b"%b %b %b %d\n%b" % (kind.encode(), event.channel.encode(), epoch.encode(), offset, value)


def batch(notices: Sequence[bytes], _at: int) -> bytes:
    """Return several events as a body."""
    return b"\n".join(notices)


def records(body: bytes) -> Iterator[Record]:
    """Return the records of a body."""
    lines = body.split(b"\n")  # JSON has none
    for place, value in zip(lines[::2], lines[1::2], strict=True):
        kind, channel, epoch, offset = place.split(b" ")
        yield channel, value, [("epoch", epoch), ("offset", offset), ("type", kind)]


class KafkaSender(WebhookSender):
    """Produces the records of requests; close it by `aclose`."""

    def __init__(self, options: Options, topic: str) -> None:
        self._options, self._topic = options, topic
        self._records = self._new()
        self._under_way: dict[str, asyncio.Future[list[None]]] = {}  # requests, by id

    async def post(self, endpoint: Endpoint, id: str, body: bytes) -> Answer:
        """Produce the records of a request, and wait until all replicas of the partitions have them. The id is the same
        at each try, and so are the events."""
        try:
            sending = self._sending(id, body)
            async with asyncio.timeout(SEND_S):
                await asyncio.shield(sending)
        except TimeoutError:
            return Answer(Outcome.TIMED_OUT, retry_after_s=AGAIN_S)
        except Unavailable:
            return Answer(Outcome.UNREACHABLE, retry_after_s=AGAIN_S)
        except KafkaException as error:
            self._under_way.pop(id, None)
            return await self._failed(error)
        self._under_way.pop(id, None)
        return Answer(Outcome.ACCEPTED)

    async def aclose(self) -> None:
        """Send what is under way."""
        for sending in self._under_way.values():
            sending.cancel()
        await self._records.aclose()

    def _sending(self, id: str, body: bytes) -> "asyncio.Future[list[None]]":
        found = self._under_way.get(id)
        if found is None:
            if len(self._under_way) >= MOST_REQUESTS:
                self._forget()
            found = asyncio.gather(
                *[self._records.send(self._topic, key, value, headers=headers) for key, value, headers in records(body)]
            )
            found.add_done_callback(_retrieve)
            self._under_way[id] = found
        return found

    def _forget(self) -> None:
        """Forget requests that have ended and are not asked for any more. Raises `Unavailable` if there are none."""
        for id in [id for id, sending in self._under_way.items() if sending.done()]:
            del self._under_way[id]
        if len(self._under_way) >= MOST_REQUESTS:
            raise Unavailable("Kafka does not answer (too many records wait for it)")

    async def _failed(self, error: KafkaException) -> Answer:
        inner = error.args[0]
        _log.warning("kafka.not_taken", topic=self._topic, problem=name_of(error))
        if isinstance(inner, KafkaError) and inner.fatal():
            broken, self._records = self._records, self._new()  # Kafka's client takes no more
            self._under_way.clear()
            await broken.aclose()
        if name_of(error) in _FOR_GOOD:
            return Answer(Outcome.REFUSED)
        return Answer(Outcome.FAILED, retry_after_s=AGAIN_S)

    def _new(self) -> Records:
        return Records(
            self._options,
            {"acks": "all", "enable.idempotence": True, "linger.ms": LINGER_MS, "message.timeout.ms": 0},
        )


def _gap(gap: ChannelGap) -> bytes:
    places = {name: {"epoch": at.epoch, "offset": at.offset} for name, at in (("from", gap.start), ("to", gap.end))}
    return orjson.dumps(
        {"event": GAP, "channel": gap.channel, "at": timestamp(gap.at), **places, "reason": gap.reason.value}
    )


def _retrieve(sending: "asyncio.Future[list[None]]") -> None:
    """Take the error of records that nobody waits for at this moment."""
    if not sending.cancelled():
        sending.exception()
