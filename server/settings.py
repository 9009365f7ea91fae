"""What an operator can set: the `MARU_*` variables, from the environment and a `.env` file (the environment wins).

`load` reads them all, once; what is unknown or bad is one `BadSetting`, whose one line names the variable, says what is
wrong and what is expected, and never shows a secret.
"""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from dotenv.parser import parse_stream
from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.domain.channels import is_pattern
from server.domain.identity import Action

VERSION = "0.1.0"
"""Of the server, as `session:ready`, `--version` and the package's metadata tell it."""

PREFIX = "MARU_"
ENV_FILE = Path(".env")

MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

MIN_API_KEY_CHARS = 16
"""Short enough for a key made by hand, long enough not to be guessed."""

MIN_RSA_BITS = 2_048
"""RFC 7518, section 3.3."""

_HOUR = 3600.0
_UNITS_MS = {"ms": 1, "": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*(KiB|MiB|GiB)?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|m|h|d)?", re.ASCII)
_API_KEY = re.compile(rf"[!-~]{{{MIN_API_KEY_CHARS},256}}", re.ASCII)
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]_-]+", re.ASCII)


class StartRefused(Exception):
    """The server can't start, and an operator can mend it; the text is one line that says how."""


class BadSetting(StartRefused):
    """A variable is unknown or has a bad value."""


class MessageLogKind(StrEnum):
    """Where acked messages are kept."""

    MEMORY = "memory"
    SQLITE = "sqlite"
    REDIS = "redis"


class BroadcastKind(StrEnum):
    """How replicas hear of each other's events."""

    MEMORY = "memory"
    REDIS = "redis"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For machines, or for people."""

    JSON = "json"
    CONSOLE = "console"


class EventLoop(StrEnum):
    """`auto` is uvloop where it is installed."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


def duration(value: object) -> float:
    """Read `30d`, `12h`, `5m`, `90s`, `250ms`, or a number of seconds; return seconds, whole milliseconds of them.

    Raises `ValueError`. A ping interval is announced to clients in milliseconds, and no duration here needs less.
    """
    found = _DURATION.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None:
        raise ValueError("expected a duration such as 90s, 12h or 30d (no unit: seconds)")
    milliseconds = Decimal(found[1]) * _UNITS_MS[found[2] or ""]
    if milliseconds != milliseconds.to_integral_value():
        raise ValueError("expected whole milliseconds")
    return int(milliseconds) / 1_000


def size(value: object) -> int:
    """Read `64MiB`, `1GiB`, `512KiB` or a number of bytes; return bytes. Raises `ValueError`."""
    found = _SIZE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None:
        raise ValueError("expected a size such as 64MiB or 1GiB (no unit: bytes)")
    return int(found[1]) * _SIZES[(found[2] or "").upper()]


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _items(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('expected a JSON object such as {"room:*": ["join", "send"]}') from None


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise ValueError(f"{text!r} is no channel name or pattern")
    return text


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text.lower()):
        raise ValueError("expected origins such as https://chat.example.com, or *; no path, no closing '/'")
    return text.lower()


def _secret(value: SecretStr) -> SecretStr:
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value.get_secret_value())
    except InvalidKeyError:
        raise ValueError("empty, or a PEM key or JWK; a public key belongs into MARU_JWT_PUBLIC_KEY") from None
    if (size := len(value.get_secret_value().encode())) < MIN_SECRET_BYTES:
        raise ValueError(f"{size} bytes, expected at least {MIN_SECRET_BYTES}; make one: openssl rand -hex 32")
    return value


def _api_key(value: SecretStr) -> SecretStr:
    if not _API_KEY.fullmatch(value.get_secret_value()):
        raise ValueError(f"expected keys of {MIN_API_KEY_CHARS} to 256 printable ASCII characters, joined by ','")
    return value


def _not_yet(value: object) -> object:
    if value is not None:
        raise ValueError("not supported yet; set MARU_JWT_PUBLIC_KEY to the issuer's public key")
    return value


def _public_key(value: str) -> str:
    """The PEM text, given itself (also with `\\n` for its line ends) or by path."""
    try:
        inline = value.lstrip().startswith("-----")
        text = value.replace("\\n", "\n") if inline else Path(value).read_text("ascii")
    except (OSError, ValueError):
        raise ValueError("expected PEM text, or the path of a PEM file that can be read") from None
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key; the server takes the public key alone")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    fits = (
        (isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS)
        or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1))
        or isinstance(key, Ed25519PublicKey)
    )
    if fits:
        return text
    raise ValueError(f"expected an RSA key of {MIN_RSA_BITS} bits or more, a P-256 key, or an Ed25519 key")


Port = Annotated[int, Field(ge=0, le=65_535, description="a port from 0 to 65535 (0: any that is free)")]
Seconds = Annotated[float, BeforeValidator(duration)]
Bytes = Annotated[int, BeforeValidator(size)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Origin = Annotated[str, AfterValidator(_origin)]
ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]
_LOWER = BeforeValidator(_lower)


def _private(description: str) -> Any:
    """A field whose value is never shown: not in a repr, not in an error, not by `describe`."""
    return Field(default=None, repr=False, description=description)


class Settings(BaseSettings):
    """The effective settings. A default that depends on another field stands below that field.

    `description` is what an error says was expected. Durations are in seconds, whole milliseconds of them.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    dev: bool = Field(default=False, description="1 or 0")
    host: str = Field(default_factory=lambda data: "127.0.0.1" if data["dev"] else "0.0.0.0")  # noqa: S104 a server
    port: Port = 8080
    internal_host: str = Field(default_factory=lambda data: "127.0.0.1" if data["dev"] else "0.0.0.0")  # noqa: S104
    internal_port: Port = 9090
    allowed_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_items)] = ("*",)

    jwt_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = _private("a text of 32 bytes or more")
    jwt_public_key: Annotated[str, AfterValidator(_public_key)] | None = _private("PEM text, or a PEM file's path")
    jwt_jwks_url: Annotated[str | None, BeforeValidator(_not_yet)] = _private("nothing")
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway: Seconds = Field(default=5.0, ge=0, le=300, description="a duration from 0 to 5m")
    token_grace: Seconds = Field(default=5.0, ge=0, le=300, description="a duration from 0 to 5m")
    default_grants: Annotated[dict[Pattern, frozenset[Action]], NoDecode, BeforeValidator(_json)] = Field(
        default={}, description="a JSON object of channel patterns and the actions join, send and moderate"
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_items)] = Field(default=(), repr=False)

    redis_url: SecretStr | None = _private("a redis:// URL")
    message_log: Annotated[MessageLogKind, _LOWER] = Field(
        default_factory=lambda data: MessageLogKind.REDIS if data["redis_url"] else MessageLogKind.SQLITE,
        description="memory, sqlite or redis",
    )
    broadcast: Annotated[BroadcastKind, _LOWER] = Field(
        default_factory=lambda data: BroadcastKind.REDIS if data["redis_url"] else BroadcastKind.MEMORY,
        description="memory or redis",
    )
    sqlite_path: Path = Field(default=Path("maru.db"), description="a file's path")
    retention_events: int = Field(
        default=100_000, ge=1, le=2**53 - 1, description="how many events a channel keeps, at least 1"
    )
    retention_age: Seconds = Field(
        default=30 * 24 * _HOUR, ge=1, le=36_500 * 24 * _HOUR, description="a duration from 1s to 36500d"
    )

    # An hour is far beyond any use; a value over it is milliseconds taken for seconds.
    ping_interval: Seconds = Field(default=10.0, gt=0, le=_HOUR, description="a duration over 0, at most 1h")
    ping_timeout: Seconds = Field(default=10.0, gt=0, le=_HOUR, description="a duration over 0, at most 1h")
    drain_timeout: Seconds = Field(default=20.0, ge=0, le=_HOUR, description="a duration from 0 to 1h")
    # A client that comes back can name at most so many channels in `resume`.
    max_channels: int = Field(default=500, ge=1, le=500, description="a number from 1 to 500")
    admission_rate: int = Field(
        default=2_000, ge=0, le=1_000_000, description="handshakes a second, 0 (no limit) to 1000000"
    )
    admission_burst: int = Field(default=5_000, ge=1, le=1_000_000, description="handshakes at once, 1 to 1000000")
    max_outbound: Bytes | None = Field(
        default=None, ge=1 << 20, le=1 << 50, description="a size of 1MiB or more, such as 512MiB"
    )
    event_loop: Annotated[EventLoop, _LOWER] = Field(default=EventLoop.AUTO, description="auto, uvloop or asyncio")
    log_level: Annotated[LogLevel, _LOWER] = Field(default=LogLevel.INFO, description="debug, info, warning or error")
    log_format: Annotated[LogFormat, _LOWER] = Field(
        default_factory=lambda data: LogFormat.CONSOLE if data["dev"] else LogFormat.JSON,
        description="json or console",
    )

    @model_validator(mode="after")
    def _redis_fits(self) -> Self:
        log, broadcast = self.message_log == MessageLogKind.REDIS, self.broadcast == BroadcastKind.REDIS
        if self.redis_url is None and (log or broadcast):
            raise ValueError(
                f"MARU_{'MESSAGE_LOG' if log else 'BROADCAST'}: redis needs MARU_REDIS_URL, which is not set"
            )
        if broadcast and not log:
            raise ValueError("MARU_BROADCAST: redis needs MARU_MESSAGE_LOG=redis; who shares hints must share the log")
        return self

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.jwt_secret and self.jwt_public_key:
            raise ValueError("MARU_JWT_SECRET, MARU_JWT_PUBLIC_KEY: both are set, expected one of them")
        if not (self.jwt_secret or self.jwt_public_key or self.dev):
            raise ValueError(
                "MARU_JWT_SECRET: not set, expected a text of 32 bytes or more; make one: openssl rand -hex 32 "
                "(or set MARU_JWT_PUBLIC_KEY; or, to try it out, MARU_DEV=1)"
            )
        return self


def load(env_file: Path = ENV_FILE) -> Settings:
    """Read the settings from the environment and `env_file`. Raises `BadSetting`."""
    written = _names_in(env_file)
    _refuse_unknown([*os.environ, *written])
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise BadSetting(_first_fault(error)) from None


class Entry(NamedTuple):
    """One setting as it is shown: masked where it is private."""

    variable: str
    value: str
    origin: str


def describe(settings: Settings, env_file: Path = ENV_FILE) -> Iterator[Entry]:
    """Yield each setting with where it came from: `environment`, the file's name, or `default`."""
    present = {name.upper() for name, value in os.environ.items() if value}
    written = {name.upper() for name in _names_in(env_file)}
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if variable in present:
            origin = "environment"
        else:
            origin = str(env_file) if variable in written else "default"
        value = getattr(settings, name)
        yield Entry(variable, _shown(value) if field.repr or not value else "********", origin)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case float():
            return f"{value:.15g}"
        case tuple():
            return ",".join(map(str, value))
        case Mapping():
            return json.dumps({pattern: sorted(actions) for pattern, actions in value.items()})
        case _:
            return str(value)


def _names_in(env_file: Path) -> list[str]:
    """The variables that the file sets. Raises `BadSetting` where a line of it can't be read."""
    if not env_file.is_file():
        return []
    try:
        with env_file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise BadSetting(f"{env_file}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadSetting(f"{env_file}: expected UTF-8") from None
    for binding in bindings:
        if binding.error:
            raise BadSetting(f"{env_file}, line {binding.original.line}: expected NAME=value")
    return [binding.key for binding in bindings if binding.key and binding.value]


def _refuse_unknown(names: list[str]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    ours = {name for name in names if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in ours if name.upper().removeprefix(PREFIX) not in known)
    if not unknown:
        return
    name = unknown[0] if unknown[0].isprintable() else ascii(unknown[0])
    close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)
    hint = f"; did you mean {PREFIX}{close[0]}?" if close else "; unset it (the README lists the known ones)"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        hint += " (Kubernetes sets such variables for a Service named maru: set enableServiceLinks: false)"
    raise BadSetting(f"{name}: unknown variable{hint}{_more(len(unknown))}")


def _first_fault(error: ValidationError) -> str:
    # A default that depends on a bad field is not a second fault.
    faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
    fault, more = faults[0], _more(len(faults))
    own = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else None
    if not fault["loc"]:
        return f"{own}{more}"
    name = str(fault["loc"][0])
    field = Settings.model_fields[name]
    says = own or f"expected {field.description or 'text'}"
    got = f", got {ascii(fault['input'])[:80]}" if field.repr else ""
    return f"{PREFIX}{name.upper()}: {says}{got}{more}"


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
