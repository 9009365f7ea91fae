"""Messages from a topic of Kafka: written as a backend's are."""

import hashlib
from functools import partial
from typing import Any

import orjson

from server.adapters.kafka.intake import Incoming, Intake
from server.api.backends.fields import Channel
from server.api.backends.messages import NewMessage, as_send
from server.application.messages.publisher import Publisher
from server.bootstrap.kafka import options
from server.domain.backends import on_behalf_of
from server.domain.errors import BadRequest, PayloadTooLarge
from server.domain.limits import MAX_KEY_CHARS
from server.settings.model import Settings

MAX_RECORD_BYTES = 64 * 1024
"""Of a record's value: as of a client's message."""

_DIGEST_CHARS = 16


class _Record(NewMessage):
    """What a record's value says."""

    channel: Channel


def open_intake(settings: Settings, topic: str, publisher: Publisher) -> Intake:
    """Open the intake of the topic; it closes itself behind its end."""
    group = settings.kafka_ingest_group
    return Intake(options(settings), topic, settings.kafka_dead_topic, group, partial(_write, publisher))


async def _write(publisher: Publisher, record: Incoming) -> None:
    """Write the message of a record. A second time, it is the message of the first."""
    parsed = _parse(record)
    command = as_send(parsed, parsed.channel, key_of(record))
    await publisher.send(on_behalf_of(parsed.author.author), command, marks=parsed.mark_read)


def _parse(record: Incoming) -> _Record:
    value = record.value or b""
    if len(value) > MAX_RECORD_BYTES:
        raise PayloadTooLarge(f"the record has {len(value)} bytes, at most {MAX_RECORD_BYTES}")
    try:
        payload: Any = orjson.loads(value)
    except ValueError:
        raise BadRequest("the record is not JSON") from None
    parsed = _Record.parse(payload)
    if record.key is not None and record.key != parsed.channel.encode():
        raise BadRequest("channel: another than the record's key")
    return parsed


def key_of(record: Incoming) -> str:
    """Return the key under which a record is written once. In place of a long name of a topic stands its digest."""
    place = f"{record.partition}:{record.offset}"
    topic = record.topic
    if len(f"kafka:{topic}:{place}") > MAX_KEY_CHARS:
        topic = hashlib.sha256(topic.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"kafka:{topic}:{place}"
