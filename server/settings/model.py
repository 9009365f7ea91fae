"""The settings of a server: each `MARU_*` variable with its type, its bounds and its default."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.domain.addresses import is_loopback
from server.domain.gcra import Rate
from server.domain.limits import MAX_RESUME_CHANNELS
from server.domain.proxies import Network
from server.domain.rates import DEFAULTS, Bucket
from server.domain.rings import RINGS_BYTES
from server.domain.webhooks import Endpoint
from server.settings import rates, secret_files, values
from server.settings.asking import AskingSettings
from server.settings.choices import Development, EventLoop, LogFormat, LogLevel
from server.settings.fields import FilePath, Seconds, private
from server.settings.stores import StoreSettings
from server.settings.tokens import TokenSettings
from server.settings.webhooks import endpoints

VERSION = "0.2.0"
"""The server's version, in `session:ready`, `--version`, the logs and the metrics. `python -m deploy.version` writes it
to the chart, the image's label and the documents; setup.cfg reads it here."""

PREFIX = "MARU_"
"""Begins the name of every variable."""

_HOUR = 3600.0

_PRODUCTION = (
    "jwt_secret",
    "jwt_secret_previous",
    "jwt_public_key",
    "jwt_jwks_url",
    "redis_url",
    "postgres_url",
    "postgres_listen_url",
    "kafka_servers",
    "nats_url",
    "cluster_secret",
    "api_keys",
    "api_keys_file",
)
"""Fields that development leaves alone."""

_OWN_RULES = {
    "jwt_public_key",
    "default_grants",
    "allowed_origins",
    "trusted_proxies",
    "api_keys",
    "limits",
    "limit_tiers",
    "channel_rules",
    "webhooks",
}
"""Fields that may have spaces and line ends around their parts."""


Port = Annotated[int, Field(ge=0, le=65_535, description="a port from 0 to 65535 (0: any that is free)")]
Bytes = Annotated[int, BeforeValidator(values.size)]
Proxy = Annotated[Network, BeforeValidator(values.trusted)]
Origin = Annotated[str, AfterValidator(values.origin)]
ApiKey = Annotated[SecretStr, AfterValidator(values.api_key)]
_ITEMS = BeforeValidator(values.items)
_LOWER = BeforeValidator(values.lower)


class Settings(TokenSettings, AskingSettings, StoreSettings, BaseSettings):
    """The settings of a server process; a field `port` is the variable `MARU_PORT`.

    A field whose default depends on another field stands below that field. An error quotes `description` as the
    expected value. Durations are in seconds, and whole milliseconds.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    dev: Annotated[Development, BeforeValidator(values.development)] = Field(
        default=Development.OFF, description="1, 0 or insecure-public"
    )
    host: str = Field(default_factory=lambda data: "127.0.0.1" if data["dev"] else "0.0.0.0")  # noqa: S104 a server
    port: Port = 8080
    # Probes and metrics have no login. In a container only what is published can be reached: the image opens it.
    internal_host: str = "127.0.0.1"
    internal_port: Port = 9090
    allowed_origins: Annotated[tuple[Origin, ...], NoDecode, _ITEMS] = ("*",)

    trusted_proxies: Annotated[tuple[Proxy, ...], NoDecode, _ITEMS] | None = Field(
        default=None, description="addresses or networks such as 10.0.0.0/8, joined by ','"
    )
    # An address may be an office, a school or a mobile carrier. These bounds are for machines that want everything.
    address_connections: int = Field(
        default=4_000, ge=0, le=10_000_000, description="connections of an address, 0 (no bound) to 10000000"
    )
    address_unconnected: int = Field(
        default=300, ge=0, le=10_000_000, description="connections without a session, 0 (no bound) to 10000000"
    )

    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, _ITEMS] = Field(default=(), repr=False)
    api_keys_file: FilePath | None = None
    # Without them, the backends' API is on the internal port.
    api_host: str | None = None
    api_port: Port | None = None

    cluster_secret: SecretStr | None = private("a text of 32 bytes or more")
    cluster_secret_file: FilePath | None = None
    redis_prefix: str = Field(
        default="maru:2:",
        pattern=r"^[A-Za-z0-9:._-]{1,64}$",
        description="1 to 64 letters, digits and :._- that begin every key and topic",
    )
    redis_wait_replicas: int = Field(
        default=0, ge=0, le=100, description="how many of Redis' replicas must have a message before its ack, 0 to 100"
    )
    sqlite_path: FilePath = Field(default=Path("maru.db"), description="a file's path")
    max_log_bytes: Bytes | None = Field(
        default=None, ge=1 << 20, le=1 << 50, description="a size of 1MiB or more, such as 8GiB"
    )
    retention_events: int = Field(
        default=100_000, ge=1, le=2**53 - 1, description="how many events a channel keeps, at least 1"
    )
    retention_age: Seconds = Field(
        default=30 * 24 * _HOUR, ge=1, le=36_500 * 24 * _HOUR, description="a duration from 1s to 36500d"
    )

    # An hour is far beyond any use. A larger value is meant as milliseconds.
    ping_interval: Seconds = Field(default=10.0, gt=0, le=_HOUR, description="a duration over 0, at most 1h")
    ping_timeout: Seconds = Field(default=10.0, gt=0, le=_HOUR, description="a duration over 0, at most 1h")
    drain_timeout: Seconds = Field(default=20.0, ge=0, le=_HOUR, description="a duration from 0 to 1h")
    # A client that reconnects must be able to name all its channels in a single `resume`.
    max_channels: int = Field(
        default=MAX_RESUME_CHANNELS,
        ge=1,
        le=MAX_RESUME_CHANNELS,
        description=f"a number from 1 to {MAX_RESUME_CHANNELS}",
    )
    # More than a core can do with CONNECT and join, so that in a storm the queue of first reads sets the pace, which
    # gives others a turn after each 32 of them; and few enough that handshakes alone, of an attacker, leave time.
    admission_rate: int = Field(
        default=8_000, ge=0, le=1_000_000, description="handshakes a second, 0 (no limit) to 1000000"
    )
    admission_burst: int = Field(default=10_000, ge=1, le=1_000_000, description="handshakes at once, 1 to 1000000")
    limits: Annotated[dict[Bucket, Rate], NoDecode, BeforeValidator(rates.limits)] = Field(
        default=dict(DEFAULTS), description="off, or a JSON object of buckets and their [rate, burst]"
    )
    limit_tiers: Annotated[dict[str, dict[Bucket, Rate]], NoDecode, BeforeValidator(rates.tiers)] = Field(
        default={}, description="a JSON object of tiers and their buckets"
    )
    webhooks: Annotated[tuple[Endpoint, ...], NoDecode, BeforeValidator(endpoints)] = Field(
        default=(), repr=False, description="a JSON list of endpoints, or the path of a file that has it"
    )
    webhooks_file: FilePath | None = None
    max_connections: int = Field(
        default=0, ge=0, le=10_000_000, description="a number up to 10000000; 0: as the descriptors allow"
    )
    max_outbound: Bytes | None = Field(
        default=None, ge=1 << 20, le=1 << 50, description="a size of 1MiB or more, such as 512MiB"
    )
    max_rings: Bytes = Field(
        default=RINGS_BYTES, ge=1 << 20, le=1 << 50, description="a size of 1MiB or more, such as 64MiB"
    )
    event_loop: Annotated[EventLoop, _LOWER] = Field(default=EventLoop.AUTO, description="auto, uvloop or asyncio")
    log_level: Annotated[LogLevel, _LOWER] = Field(default=LogLevel.INFO, description="debug, info, warning or error")
    log_format: Annotated[LogFormat, _LOWER] = Field(
        default_factory=lambda data: LogFormat.CONSOLE if data["dev"] else LogFormat.JSON,
        description="json or console",
    )
    log_commands_per_second: int = Field(
        default=20, ge=0, le=1_000_000, description="log lines a session and second, 0 (all of them) to 1000000"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        return secret_files.read(given, PREFIX)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and info.field_name not in _OWN_RULES:
            values.plain(value)
        return value

    @model_validator(mode="after")
    def _alone_in_development(self) -> Self:
        """Refuse development beside the things of a production: it gives everybody tokens for every user."""
        given = [PREFIX + name.upper() for name in _PRODUCTION if getattr(self, name)]
        found = given or ([] if is_loopback(self.host) else [f"{PREFIX}HOST={self.host}"])
        if self.dev is Development.ON and found:
            raise ValueError(
                f"MARU_DEV: 1 gives everybody tokens for every user, and {found[0]} is set; unset one of the two (or, "
                "if everybody may be everybody, set MARU_DEV=insecure-public)"
            )
        return self

    @model_validator(mode="after")
    def _a_key(self) -> Self:
        if not (self.jwt_secret or self.jwt_public_key or self.jwt_jwks_url or self.dev):
            raise ValueError(
                "MARU_JWT_SECRET: not set, expected a text of 32 bytes or more; make one: openssl rand -hex 32 "
                "(or set MARU_JWT_PUBLIC_KEY or MARU_JWT_JWKS_URL; or, to try it out, MARU_DEV=1)"
            )
        return self
