"""A first look at Kafka, before a replica serves: what no waiting would mend is told at once."""

import time
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaError, KafkaException

from server.adapters.kafka.client import Options, name_of, with_common

LOOK_S = 5.0
"""Kafka's time to answer. A Kafka that does not may be starting, too."""

ASK_S = 0.5
"""A single question; in between, the client tells what is wrong."""

_REFUSED = {
    "_AUTHENTICATION": "Kafka refuses the user or the password",
    "SASL_AUTHENTICATION_FAILED": "Kafka refuses the user or the password",
    "UNSUPPORTED_SASL_MECHANISM": "Kafka does not know the mechanism of MARU_KAFKA_MECHANISM",
    "_SSL": "the TLS connection to Kafka fails",
}


class Refused(Exception):
    """Kafka can't be used, however long it is waited for. The text is for operators, and holds no secret."""


def look(options: Options, topics: Collection[str]) -> set[str]:
    """Return which of the topics are missing; none if Kafka is away. Raises `Refused`. Blocks for `LOOK_S` at most."""
    found: list[KafkaError] = []
    consumer = _client(options, found)
    try:
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until:
            try:
                known = consumer.list_topics(timeout=ASK_S).topics
            except KafkaException:
                consumer.poll(0)
            else:
                return {topic for topic in topics if topic not in known}
            for error in found:
                if "certificate verify failed" in error.str():
                    raise Refused("Kafka's certificate is not trusted: see MARU_KAFKA_CA")
                if name_of(error) in _REFUSED:
                    raise Refused(_REFUSED[name_of(error)])
        return set()
    finally:
        consumer.close()


def _client(options: Options, found: list[KafkaError]) -> Consumer:
    """Return a consumer, which creates no topic by asking for it."""
    more = {"group.id": "maru.look", "allow.auto.create.topics": False, "error_cb": found.append}
    try:
        return Consumer(with_common(options, more))
    except KafkaException as error:  # such as a certificate's file that is not there
        raise Refused(error.args[0].str()) from None
