"""Kafka as the settings name it: options of its clients, and a first look at what is there."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from server.adapters.kafka.first_look import Refused, look
from server.settings.errors import StartRefused
from server.settings.model import Settings


def options(settings: Settings) -> dict[str, Any]:
    """Return how Kafka is reached."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_servers,
        "security.protocol": settings.kafka_security.value,
    }
    if settings.kafka_ca is not None:
        found["ssl.ca.location"] = str(settings.kafka_ca)
    if settings.kafka_certificate is not None:
        found["ssl.certificate.location"] = str(settings.kafka_certificate)
        found["ssl.key.location"] = str(settings.kafka_certificate_key)
    if settings.kafka_user and settings.kafka_password is not None:
        found["sasl.mechanism"] = settings.kafka_mechanism.value
        found["sasl.username"] = settings.kafka_user
        found["sasl.password"] = settings.kafka_password.get_secret_value()
    return found


async def check(settings: Settings, topics: Mapping[str, Sequence[str]]) -> None:
    """Refuse the start if waiting would not help: a wrong password, a certificate that is not trusted, a file that
    can't be read, a topic that is missing. `topics`: their names, by the variable. A Kafka that is away may come.
    Raises `StartRefused`."""
    try:
        missing = await asyncio.to_thread(
            look, options(settings), [topic for names in topics.values() for topic in names]
        )
    except Refused as error:
        raise StartRefused(f"MARU_KAFKA_SERVERS: {error}") from None
    for variable, names in topics.items():
        for topic in names:
            if topic in missing:
                raise StartRefused(f"{variable}: Kafka has no topic {topic}; create it: see docs/engines/kafka.md")
