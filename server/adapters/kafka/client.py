"""What all clients of Kafka here have in common: their options, their log lines, and their errors in our words."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from server.domain.errors import Unavailable

Options = Mapping[str, Any]
"""Options of librdkafka, by their names."""

RECONNECT_MS = 1_000
"""The longest pause between two tries to connect to a broker."""

SOCKET_MS = 6_000
"""A broker that has not answered a request for so long is connected to again."""

_lines = logging.getLogger("maru.kafka.client")


def _as_debug(record: logging.LogRecord) -> bool:
    """Write a line of librdkafka only if debug lines are written: it has one for each failed try."""
    record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
    return logging.root.isEnabledFor(logging.DEBUG)


_lines.filters = [_as_debug]


def with_common(options: Options, more: Options) -> dict[str, Any]:
    """Return the options of a client that is polled, so that its lines come."""
    return {**_common(options), "logger": _lines, **more}


def with_silence(options: Options) -> dict[str, Any]:
    """Return the options of a client that nobody polls."""
    return {**_common(options), "log_level": 0}


def _common(options: Options) -> dict[str, Any]:
    return {
        **options,
        "client.id": "maru",
        "reconnect.backoff.max.ms": RECONNECT_MS,
        "socket.timeout.ms": SOCKET_MS,
        "socket.keepalive.enable": True,
        "log.connection.close": False,
    }


def away(error: KafkaException | KafkaError) -> Unavailable:
    """Return the error for callers."""
    return Unavailable(f"Kafka does not answer ({name_of(error)})")


def name_of(error: Exception | KafkaError) -> str:
    """Return Kafka's name of an error, such as `_TRANSPORT`."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    return inner.name() if isinstance(inner, KafkaError) else type(inner).__name__
