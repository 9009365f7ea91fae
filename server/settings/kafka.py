"""The settings of Kafka: how it is reached, and the topics of hints, events and incoming messages."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator

from server.settings import values
from server.settings.choices import KafkaMechanism, KafkaSecurity
from server.settings.fields import FilePath, private

_LOWER = BeforeValidator(values.lower)
_UPPER = BeforeValidator(values.upper)

Topic = Annotated[str, AfterValidator(values.topic)]


class KafkaSettings(BaseModel):
    """A part of `Settings`."""

    kafka_servers: Annotated[str, AfterValidator(values.servers)] | None = Field(
        default=None, description="brokers as host:port, joined by ','"
    )
    kafka_user: str | None = None  # before `kafka_security`, whose default depends on it
    kafka_security: Annotated[KafkaSecurity, _LOWER] = Field(
        default_factory=lambda data: KafkaSecurity.SASL_SSL if data.get("kafka_user") else KafkaSecurity.PLAINTEXT,
        description="plaintext, ssl, sasl_plaintext or sasl_ssl",
    )
    kafka_ca: FilePath | None = Field(default=None, description="the path of a PEM file")
    kafka_certificate: FilePath | None = Field(default=None, description="the path of a PEM file")
    kafka_certificate_key: FilePath | None = Field(default=None, description="the path of a PEM file")
    kafka_password: SecretStr | None = private("a password")
    kafka_password_file: FilePath | None = None
    kafka_mechanism: Annotated[KafkaMechanism, _UPPER] = Field(
        default=KafkaMechanism.SCRAM_SHA_512, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_topic: Topic = "maru.hints"
    kafka_egress_topic: Topic | None = None
    kafka_ingest_topic: Topic | None = None
    kafka_ingest_group: Topic = "maru"

    @property
    def kafka_dead_topic(self) -> str:
        """The topic of incoming records that can't be taken."""
        return f"{self.kafka_ingest_topic}.dead"

    @model_validator(mode="after")
    def _kafka_fits(self) -> Self:
        topics = [name for name in ("kafka_egress_topic", "kafka_ingest_topic") if getattr(self, name)]
        if topics and not self.kafka_servers:
            raise ValueError(f"MARU_{topics[0].upper()}: set without MARU_KAFKA_SERVERS, where it is")
        if self.kafka_user and not self.kafka_password:
            raise ValueError("MARU_KAFKA_USER: set without MARU_KAFKA_PASSWORD")
        if self.kafka_security.has_login != bool(self.kafka_user):
            raise ValueError(
                f"MARU_KAFKA_SECURITY: {self.kafka_security}, which "
                + ("needs MARU_KAFKA_USER" if self.kafka_security.has_login else "has no use for MARU_KAFKA_USER")
            )
        if bool(self.kafka_certificate) != bool(self.kafka_certificate_key):
            raise ValueError("MARU_KAFKA_CERTIFICATE, MARU_KAFKA_CERTIFICATE_KEY: one is set, expected both or none")
        return self
