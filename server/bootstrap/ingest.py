"""Messages from a topic of Kafka: written as a backend's are."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from server.adapters.kafka.incoming import Incoming
from server.adapters.kafka.intake import Intake
from server.api.backends.fields import Channel
from server.api.backends.messages import NewMessage, as_send
from server.application.messages.publisher import Publisher
from server.bootstrap.kafka import options
from server.domain.appending import Appended
from server.domain.backends import on_behalf_of
from server.domain.drafts import Sender
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


def _write(publisher: Publisher, records: Sequence[Incoming]) -> Sequence["asyncio.Future[None]"]:
    """Write the messages of records, as those of a client that does not wait: in order, or not at all. A second time, a
    message is that of the first."""
    loop, sender = asyncio.get_running_loop(), Sender()
    return [_begin(publisher, record, sender, loop.create_future()) for record in records]


def _begin(
    publisher: Publisher, record: Incoming, sender: Sender, written: "asyncio.Future[None]"
) -> "asyncio.Future[None]":
    def done(outcome: Appended | Exception) -> None:
        if written.done():
            return
        if isinstance(outcome, Exception):
            written.set_exception(outcome)
        else:
            written.set_result(None)

    try:
        parsed = _parse(record)
        command = as_send(parsed, parsed.channel, key_of(record))
        publisher.submit(on_behalf_of(parsed.author.author), command, sender, done)
    except Exception as error:  # noqa: BLE001  # it costs this record, and no other
        done(error)
    return written


def _parse(record: Incoming) -> _Record:
    value = record.value or b""
    if len(value) > MAX_RECORD_BYTES:
        raise PayloadTooLarge(f"the record has {len(value)} bytes, at most {MAX_RECORD_BYTES}")
    try:
        payload: Any = orjson.loads(value)
    except ValueError:
        raise BadRequest("the record is not JSON") from None
    parsed = _Record.parse(payload)
    if "mark_read" in parsed.model_fields_set:
        raise BadRequest("mark_read: is not asked for here; authors have read what they write")
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
