"""The settings of stores and brokers, and which of them go together."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from server.settings import values
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.fields import FilePath, private
from server.settings.kafka import KafkaSettings

_LOWER = BeforeValidator(values.lower)

_BROADCASTS = {
    MessageLogKind.MEMORY: (BroadcastKind.MEMORY,),
    MessageLogKind.SQLITE: (BroadcastKind.MEMORY,),
    MessageLogKind.REDIS: (BroadcastKind.REDIS, BroadcastKind.KAFKA, BroadcastKind.NATS),
    MessageLogKind.POSTGRES: (BroadcastKind.POSTGRES, BroadcastKind.KAFKA, BroadcastKind.NATS),
    MessageLogKind.NATS: (BroadcastKind.NATS,),
}
"""The broadcasts that go with each log; the first is the default."""

_NEEDS = {
    "redis": "redis_url",
    "postgres": "postgres_url",
    "kafka": "kafka_servers",
    "nats": "nats_url",
}
"""The setting that each engine needs."""


def _log_by_url(data: dict[str, Any]) -> MessageLogKind:
    """Return the log whose URL is given, the first of these."""
    kinds = (MessageLogKind.REDIS, MessageLogKind.POSTGRES, MessageLogKind.NATS)
    return next((kind for kind in kinds if data.get(_NEEDS[kind])), MessageLogKind.SQLITE)


class StoreSettings(KafkaSettings):
    """Where messages are kept, and how replicas hear of them."""

    redis_url: SecretStr | None = private("a redis:// URL")
    redis_url_file: FilePath | None = None
    postgres_url: SecretStr | None = private("a postgresql:// URL")
    postgres_url_file: FilePath | None = None
    # LISTEN needs a connection of its own, which a pooler such as PgBouncer does not give.
    postgres_listen_url: SecretStr | None = private("a postgresql:// URL that leads past every pooler")
    postgres_listen_url_file: FilePath | None = None
    nats_url: SecretStr | None = private("a nats:// URL")
    nats_url_file: FilePath | None = None
    nats_prefix: str = Field(
        default="maru",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="1 to 32 letters, digits, - and _ that begin every stream and subject",
    )
    nats_replicas: int = Field(
        default=1, ge=1, le=5, description="how many servers of a cluster keep each stream, 1 to 5"
    )
    message_log: Annotated[MessageLogKind, _LOWER] = Field(
        default_factory=_log_by_url, description="memory, sqlite, redis, postgres or nats"
    )
    broadcast: Annotated[BroadcastKind, _LOWER] = Field(
        default_factory=lambda data: _BROADCASTS[data.get("message_log", MessageLogKind.SQLITE)][0],
        description="memory, redis, postgres, kafka or nats",
    )

    @model_validator(mode="after")
    def _stores_fit(self) -> Self:
        for name, kind in (("MESSAGE_LOG", self.message_log), ("BROADCAST", self.broadcast)):
            needed = _NEEDS.get(kind)
            if needed is not None and not getattr(self, needed):
                raise ValueError(f"MARU_{name}: {kind} needs MARU_{needed.upper()}, which is not set")
        fitting = _BROADCASTS[self.message_log]
        if self.broadcast not in fitting:
            raise ValueError(
                f"MARU_BROADCAST: {self.broadcast}, expected {' or '.join(fitting)} with MARU_MESSAGE_LOG="
                f"{self.message_log}; replicas that share the log must share hints, and only these"
            )
        for kind in (MessageLogKind.REDIS, MessageLogKind.POSTGRES, MessageLogKind.NATS):
            if getattr(self, _NEEDS[kind]) and kind not in (self.message_log, self.broadcast):
                raise ValueError(
                    f"MARU_{_NEEDS[kind].upper()}: set, but MARU_MESSAGE_LOG={self.message_log} and MARU_BROADCAST="
                    f"{self.broadcast} do not use it; replicas that share no log would not see each other"
                )
        if self.kafka_servers and not (
            self.broadcast is BroadcastKind.KAFKA or self.kafka_egress_topic or self.kafka_ingest_topic
        ):
            raise ValueError(
                f"MARU_KAFKA_SERVERS: set, but MARU_BROADCAST={self.broadcast} does not use it, and neither "
                "MARU_KAFKA_EGRESS_TOPIC nor MARU_KAFKA_INGEST_TOPIC is set"
            )
        return self
