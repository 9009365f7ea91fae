"""A record of a topic whose records come in."""

from dataclasses import dataclass

from confluent_kafka import Message


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it came."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def incoming(record: Message) -> Incoming:
    """Return the record that Kafka's client gives."""
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None  # a record without an error has all three
    assert partition is not None
    assert offset is not None
    return Incoming(topic, partition, offset, record.key(), record.value())


def place_of(record: Incoming) -> str:
    """Return the place of a record, for log lines."""
    return f"{record.partition}:{record.offset}"
