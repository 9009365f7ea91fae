"""The settings that are one of a few words."""

from enum import StrEnum


class MessageLogKind(StrEnum):
    """The store that keeps acked messages."""

    MEMORY = "memory"
    SQLITE = "sqlite"
    REDIS = "redis"
    POSTGRES = "postgres"
    NATS = "nats"


class BroadcastKind(StrEnum):
    """The bus that tells replicas of each other's events."""

    MEMORY = "memory"
    REDIS = "redis"
    POSTGRES = "postgres"
    KAFKA = "kafka"
    NATS = "nats"


class KafkaSecurity(StrEnum):
    """How brokers of Kafka are talked to."""

    PLAINTEXT = "plaintext"
    SSL = "ssl"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_SSL = "sasl_ssl"

    @property
    def has_login(self) -> bool:
        """Whether a user logs in."""
        return self in (KafkaSecurity.SASL_PLAINTEXT, KafkaSecurity.SASL_SSL)


class KafkaMechanism(StrEnum):
    """How a user logs in at Kafka."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Development(StrEnum):
    """Whether anybody may have a token for any user: nobody, this machine alone, or the network, too."""

    OFF = "0"
    ON = "1"
    PUBLIC = "insecure-public"

    def __bool__(self) -> bool:
        return self is not Development.OFF


class LogLevel(StrEnum):
    """The level of the least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The form of log lines: for machines, or for people."""

    JSON = "json"
    CONSOLE = "console"


class EventLoop(StrEnum):
    """The event loop's implementation. `auto` is uvloop if it is installed, else asyncio's own."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"
