"""Loading: the sources of settings, one clear line for whatever is wrong, and no secret in any print."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.settings.errors import BadSetting
from server.settings.load import ENV_FILE, describe
from server.settings.model import Settings
from tests.unit.settings.conftest import SECRET


def refusal(env: Any, **values: str) -> str:
    """The one line that these variables give."""
    with pytest.raises(BadSetting) as caught:
        env(**values)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_the_environment_wins_over_the_file(env: Any) -> None:
    """`.env` of the working directory is read; an empty variable is one that is not set."""
    ENV_FILE.write_text('MARU_PORT=1111\nMARU_INTERNAL_PORT=2222\nOTHER=x\n# note\nexport MARU_HOST="::1"\n')
    settings = env(PORT="3333", INTERNAL_PORT="")
    assert (settings.port, settings.internal_port, settings.host) == (3333, 2222, "::1")


ALL = "everybody tokens for every user"

BAD: dict[str, tuple[dict[str, str], str]] = {
    "port a word": ({"PORT": "http"}, "MARU_PORT: expected a port from 0 to 65535 (0: any that is free), got 'http'"),
    "port too high": ({"PORT": "65536"}, "MARU_PORT: expected a port"),
    "dev": ({"DEV": "maybe"}, "MARU_DEV: expected 1, 0 or insecure-public, got 'maybe'"),
    "interval zero": ({"PING_INTERVAL": "0"}, "MARU_PING_INTERVAL: expected a duration over 0"),
    "interval in milliseconds": (
        {"PING_INTERVAL": "10000"},
        "MARU_PING_INTERVAL: expected a duration over 0, at most 1h",
    ),
    "interval too fine": ({"PING_INTERVAL": "0.0001"}, "MARU_PING_INTERVAL: expected whole milliseconds, got '0.0001'"),
    "timeout": ({"PING_TIMEOUT": "-1"}, "MARU_PING_TIMEOUT: expected a duration such as"),
    "drain": ({"DRAIN_TIMEOUT": "soon"}, "MARU_DRAIN_TIMEOUT: expected a duration such as"),
    "retention none": ({"RETENTION_EVENTS": "0"}, "MARU_RETENTION_EVENTS: expected how many events"),
    "rate": (
        {"ADMISSION_RATE": "-1"},
        "MARU_ADMISSION_RATE: expected handshakes a second, 0 (no limit) to 1000000, got '-1'",
    ),
    "burst": ({"ADMISSION_BURST": "0"}, "MARU_ADMISSION_BURST: expected handshakes at once, 1 to 1000000, got '0'"),
    "outbound": (
        {"MAX_OUTBOUND": "64MB"},
        "MARU_MAX_OUTBOUND: expected a size such as 64MiB or 1GiB (no unit: bytes), got '64MB'",
    ),
    "small outbound": (
        {"MAX_OUTBOUND": "64KiB"},
        "MARU_MAX_OUTBOUND: expected a size of 1MiB or more, such as 512MiB, got '64KiB'",
    ),
    "small rings": (
        {"MAX_RINGS": "64KiB"},
        "MARU_MAX_RINGS: expected a size of 1MiB or more, such as 64MiB, got 65536",
    ),
    "channels": ({"MAX_CHANNELS": "501"}, "MARU_MAX_CHANNELS: expected a number from 1 to 500, got '501'"),
    "kafka's servers": (
        {"KAFKA_SERVERS": "kafka", "KAFKA_EGRESS_TOPIC": "events"},
        "MARU_KAFKA_SERVERS: expected brokers as host:port, joined by ','; no spaces, no URL",
    ),
    "kafka for nothing": ({"KAFKA_SERVERS": "kafka:9092"}, "MARU_KAFKA_SERVERS: set, but MARU_BROADCAST=memory does"),
    "a topic without kafka": (
        {"KAFKA_INGEST_TOPIC": "messages"},
        "MARU_KAFKA_INGEST_TOPIC: set without MARU_KAFKA_SERVERS",
    ),
    "a topic's name": (
        {"KAFKA_SERVERS": "kafka:9092", "KAFKA_EGRESS_TOPIC": "a b"},
        "MARU_KAFKA_EGRESS_TOPIC: expected a topic's name: 1 to 200 letters, digits and ._-",
    ),
    "kafka's user alone": (
        {"KAFKA_SERVERS": "kafka:9092", "KAFKA_EGRESS_TOPIC": "events", "KAFKA_USER": "maru"},
        "MARU_KAFKA_USER: set without MARU_KAFKA_PASSWORD",
    ),
    "kafka's login without a user": (
        {"KAFKA_SERVERS": "kafka:9092", "KAFKA_EGRESS_TOPIC": "events", "KAFKA_SECURITY": "sasl_ssl"},
        "MARU_KAFKA_SECURITY: sasl_ssl, which needs MARU_KAFKA_USER",
    ),
    "kafka's certificate alone": (
        {"KAFKA_SERVERS": "kafka:9092", "KAFKA_EGRESS_TOPIC": "events", "KAFKA_CERTIFICATE": "cert.pem"},
        "MARU_KAFKA_CERTIFICATE, MARU_KAFKA_CERTIFICATE_KEY: one is set, expected both or none",
    ),
    "log": (
        {"MESSAGE_LOG": "kafka"},
        "MARU_MESSAGE_LOG: expected memory, sqlite, redis, postgres or nats, got 'kafka'",
    ),
    "level": ({"LOG_LEVEL": "loud"}, "MARU_LOG_LEVEL: expected debug, info, warning or error"),
    "format": ({"LOG_FORMAT": "xml"}, "MARU_LOG_FORMAT: expected json or console"),
    "sample": (
        {"LOG_COMMANDS_PER_SECOND": "-1"},
        "MARU_LOG_COMMANDS_PER_SECOND: expected log lines a session and second, 0 (all of them) to 1000000, got '-1'",
    ),
    "loop": ({"EVENT_LOOP": "trio"}, "MARU_EVENT_LOOP: expected auto, uvloop or asyncio"),
    "origin with a path": ({"ALLOWED_ORIGINS": "https://a.example/"}, "MARU_ALLOWED_ORIGINS: expected origins such as"),
    "origin without a scheme": ({"ALLOWED_ORIGINS": "a.example"}, "MARU_ALLOWED_ORIGINS: expected origins such as"),
    "grants no JSON": ({"DEFAULT_GRANTS": "{"}, "MARU_DEFAULT_GRANTS: expected a JSON object such as"),
    "grants a list": ({"DEFAULT_GRANTS": "[]"}, "MARU_DEFAULT_GRANTS: expected a JSON object of"),
    "grants of nothing known": ({"DEFAULT_GRANTS": '{"a": ["fly"]}'}, "MARU_DEFAULT_GRANTS: expected a JSON object of"),
    "grants malformed": (
        {"DEFAULT_GRANTS": '{"A": ["join"]}'},
        "MARU_DEFAULT_GRANTS: 'A' is no channel name or pattern",
    ),
    "grants deep": ({"DEFAULT_GRANTS": "[" * 100_000}, "MARU_DEFAULT_GRANTS: expected a JSON object such as"),
    "line break": ({"PORT": "1\n2"}, r"MARU_PORT: expected a port from 0 to 65535 (0: any that is free), got '1\n2'"),
    "jwks, too": (
        {"JWT_JWKS_URL": "https://id.example"},
        "MARU_JWT_SECRET, MARU_JWT_JWKS_URL: both are set, expected one of them",
    ),
    "jwks and all": (
        {"JWT_JWKS_URL": "https://id.example", "JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----canary"},
        "MARU_JWT_SECRET, MARU_JWT_PUBLIC_KEY, MARU_JWT_JWKS_URL: all are set, expected one of them",
    ),
    "jwks by http": (
        {"JWT_SECRET": "", "JWT_JWKS_URL": "http://id.example/canary"},
        "MARU_JWT_JWKS_URL: http, expected https: whoever is between here and the issuer could make",
    ),
    "jwks with a password": (
        {"JWT_SECRET": "", "JWT_JWKS_URL": "https://canary:canary@id.example"},
        "MARU_JWT_JWKS_URL: has a user or a password before its host; remove them",
    ),
    "jwks no URL": (
        {"JWT_SECRET": "", "JWT_JWKS_URL": "id.example/canary"},
        "MARU_JWT_JWKS_URL: expected a URL such as https://id.example.com/jwks.json",
    ),
    "redis log": ({"MESSAGE_LOG": "redis"}, "MARU_MESSAGE_LOG: redis needs MARU_REDIS_URL, which is not set"),
    "redis broadcast": ({"BROADCAST": "redis"}, "MARU_BROADCAST: redis needs MARU_REDIS_URL, which is not set"),
    "a broadcast without its log": (
        {"REDIS_URL": "redis://:canary@r", "MESSAGE_LOG": "sqlite"},
        "MARU_REDIS_URL: set, but MARU_MESSAGE_LOG=sqlite and MARU_BROADCAST=memory do not use it",
    ),
    "a log without its broadcast": (
        {"REDIS_URL": "redis://:canary@r", "BROADCAST": "memory"},
        "MARU_BROADCAST: memory, expected redis or kafka or nats with MARU_MESSAGE_LOG=redis; replicas that share",
    ),
    "a prefix with a brace": (
        {"REDIS_PREFIX": "a{b}:"},
        "MARU_REDIS_PREFIX: expected 1 to 64 letters, digits and :._- that begin every key and topic",
    ),
    "too many replicas to wait for": (
        {"REDIS_WAIT_REPLICAS": "101"},
        "MARU_REDIS_WAIT_REPLICAS: expected how many of Redis' replicas must have a message before its ack, 0 to 100",
    ),
    "secret missing": ({"JWT_SECRET": ""}, "MARU_JWT_SECRET: not set, expected a text of 32 bytes or more"),
    "api key short": ({"API_KEYS": "canary"}, "MARU_API_KEYS: expected keys of 16 to 256 printable"),
    "api key spaced": ({"API_KEYS": "canary canary canary"}, "MARU_API_KEYS: expected keys of 16 to 256 printable"),
    "previous alone": (
        {"JWT_SECRET": "", "JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----canary", "JWT_SECRET_PREVIOUS": "canary" * 6},
        "MARU_JWT_SECRET_PREVIOUS: set without MARU_JWT_SECRET, the secret that comes after it",
    ),
    "until alone": (
        {"JWT_SECRET_PREVIOUS_UNTIL": "2027-01-31T12:00:00Z"},
        "MARU_JWT_SECRET_PREVIOUS_UNTIL: set without MARU_JWT_SECRET_PREVIOUS, whose end it is",
    ),
    "until no moment": (
        {"JWT_SECRET_PREVIOUS": "canary" * 6, "JWT_SECRET_PREVIOUS_UNTIL": "tomorrow"},
        "MARU_JWT_SECRET_PREVIOUS_UNTIL: expected a date and time of RFC 3339 such as 2027-01-31T12:00:00Z, got 'tomo",
    ),
    "public key no file": ({"JWT_PUBLIC_KEY": "/canary.pem"}, "MARU_JWT_PUBLIC_KEY: expected PEM text, or the path"),
    "public key beside a secret": (
        {"JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----canary"},
        "MARU_JWT_SECRET, MARU_JWT_PUBLIC_KEY: both are set, expected one of them",
    ),
    "a secret with a line end": (
        {"JWT_SECRET": f"{SECRET}\n"},
        "MARU_JWT_SECRET: begins or ends with a space or a line end; remove it",
    ),
    "a secret with a space": ({"JWT_SECRET": f" {SECRET}"}, "MARU_JWT_SECRET: begins or ends with a space"),
    "a secret in quotes": ({"JWT_SECRET": f'"{SECRET}"'}, "MARU_JWT_SECRET: stands in quotes"),
    "an audience in quotes": ({"JWT_AUDIENCE": "'chat'"}, "MARU_JWT_AUDIENCE: stands in quotes"),
    "an audience with a line end": ({"JWT_AUDIENCE": "chat\r\n"}, "MARU_JWT_AUDIENCE: begins or ends with a space"),
    "an issuer in quotes": ({"JWT_ISSUER": '"https://id.example"'}, "MARU_JWT_ISSUER: stands in quotes"),
    "a host in quotes": ({"HOST": '"::1"'}, "MARU_HOST: stands in quotes"),
    "a number in quotes": ({"MAX_CHANNELS": '"5"'}, "MARU_MAX_CHANNELS: stands in quotes"),
    "a Redis URL with a line end": ({"REDIS_URL": "redis://:canary@r\n"}, "MARU_REDIS_URL: begins or ends with"),
    "an API key in quotes": ({"API_KEYS": '"canary-canary-canary"'}, "MARU_API_KEYS: stands in quotes"),
    "a path in quotes": ({"SQLITE_PATH": '"data/maru.db"'}, "MARU_SQLITE_PATH: stands in quotes"),
    "no file": ({"SQLITE_PATH": ":memory:"}, "MARU_SQLITE_PATH: expected a file's path such as data/maru.db"),
    "a URL for a file": ({"SQLITE_PATH": "sqlite:///maru.db"}, "MARU_SQLITE_PATH: expected a file's path"),
    "a file URL": ({"SQLITE_PATH": "file:maru.db?mode=ro"}, "MARU_SQLITE_PATH: expected a file's path"),
    "two secrets": (
        {"JWT_SECRET_FILE": "/canary"},
        "MARU_JWT_SECRET, MARU_JWT_SECRET_FILE: both are set, expected one of them",
    ),
    "a secret's file that is not there": (
        {"REDIS_URL_FILE": "/nowhere"},
        "MARU_REDIS_URL_FILE: the file can't be read (No such file or directory)",
    ),
    "a secret's file by a URL": ({"REDIS_URL_FILE": "file:///etc/x"}, "MARU_REDIS_URL_FILE: expected a file's path"),
    "development with a secret": (
        {"DEV": "1"},
        "MARU_DEV: 1 gives everybody tokens for every user, and MARU_JWT_SECRET is",
    ),
    **{
        f"development with {name}": (
            {"DEV": "1", "JWT_SECRET": "", name: value},
            f"MARU_DEV: 1 gives {ALL}, and MARU_{name}",
        )
        for name, value in {
            "JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----canary",
            "REDIS_URL": "redis://:canary@127.0.0.1",
            "CLUSTER_SECRET": "canary" * 8,
            "API_KEYS": "canary" * 4,
            "HOST": "0.0.0.0",
        }.items()
    },
    "development on every IPv6 address": (
        {"DEV": "1", "JWT_SECRET": "", "HOST": "::"},
        f"MARU_DEV: 1 gives {ALL}, and",
    ),
    "two faults": ({"PORT": "x", "DEV": "x"}, "MARU_DEV: expected 1, 0 or insecure-public, got 'x' (and 1 more)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_one_line(env: Any, name: str) -> None:
    """It names the variable and what was expected, and repeats no secret."""
    values, line = BAD[name]
    said = refusal(env, **values)
    assert said.startswith(line)
    assert "canary" not in said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("JWT_SECRTE", "did you mean MARU_JWT_SECRET?"),
        ("LOGLEVEL", "did you mean MARU_LOG_LEVEL?"),
        ("WINDOW_COLOUR", "unset it (docs/settings.md lists the known ones)"),
    ],
)
def test_an_unknown_variable_is_refused(env: Any, variable: str, hint: str) -> None:
    """With the nearest known one, and without its value."""
    said = refusal(env, **{variable: "canary"})
    assert said == f"MARU_{variable}: unknown variable; {hint}"


def test_an_unknown_variable_in_the_file_is_refused(env: Any) -> None:
    """Also there; others' variables are not ours to judge."""
    ENV_FILE.write_text("SOMETHING=1\nmaru_prot=1\nMARU_X=2\n")
    assert refusal(env) == ("MARU_X: unknown variable; unset it (docs/settings.md lists the known ones) (and 1 more)")


def test_kubernetes_service_variables_are_explained(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named maru brings variables of its own into every pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "enableServiceLinks: false" in refusal(env, SERVICE_HOST="10.0.0.2")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"MARU_PORT=1\n'broken\n", ".env, line 2: expected NAME=value"),
        (b"MARU_PORT=\xff\n", ".env: expected UTF-8"),
    ],
)
def test_a_broken_file_is_one_line(env: Any, content: bytes, line: str) -> None:
    """It names the file and the place."""
    ENV_FILE.write_bytes(content)
    assert refusal(env) == line


def test_secrets_are_in_no_print(env: Any) -> None:
    """Neither in a repr, nor in `describe`, nor in JSON."""
    settings = env(API_KEYS="canary-canary-canary")
    shown = [entry.value for entry in describe(settings)]
    assert shown.count("********") == 2
    for text in (repr(settings), str(settings), str(shown), settings.model_dump_json()):
        assert "canary" not in text


def test_describe_says_where_from(env: Any) -> None:
    """The environment, the file, or the default; the values are written as they could be set."""
    ENV_FILE.write_text("MARU_PORT=1111\nMARU_HOST=::1\n")
    settings = env(PORT="3333", DEFAULT_GRANTS='{"a":["send","join"]}')
    entries = {variable: (value, origin) for variable, value, origin in describe(settings)}
    assert len(entries) == len(Settings.model_fields)
    assert entries["MARU_PORT"] == ("3333", "environment")
    assert entries["MARU_HOST"] == ("::1", ".env")
    assert entries["MARU_RETENTION_AGE"] == ("2592000", "default")
    assert entries["MARU_DEV"] == ("0", "default")
    assert entries["MARU_REDIS_URL"] == ("", "default")
    assert entries["MARU_ALLOWED_ORIGINS"] == ("*", "default")
    assert json.loads(entries["MARU_DEFAULT_GRANTS"][0]) == {"a": ["join", "send"]}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file(env: Any, tmp_path: Path, end: str) -> None:
    """A line end at its end does not count; `config` names the variable that it came by, and masks it."""
    (tmp_path / "secret").write_text(SECRET + end)
    (tmp_path / "url").write_text("redis://:canary@r" + end)
    settings = env(JWT_SECRET="", JWT_SECRET_FILE=str(tmp_path / "secret"), REDIS_URL_FILE=str(tmp_path / "url"))
    assert settings.jwt_secret.get_secret_value() == SECRET
    assert settings.message_log == "redis"
    entries = {variable: (value, origin) for variable, value, origin in describe(settings)}
    assert entries["MARU_JWT_SECRET"] == ("********", "MARU_JWT_SECRET_FILE")
    assert entries["MARU_REDIS_URL"] == ("********", "MARU_REDIS_URL_FILE")


def test_a_secret_in_a_file_without_end(env: Any, tmp_path: Path) -> None:
    """No more of it is read than a secret may have."""
    with (tmp_path / "secret").open("wb") as file:
        file.truncate(1 << 43)
    said = refusal(env, JWT_SECRET="", JWT_SECRET_FILE=str(tmp_path / "secret"))
    assert said == "MARU_JWT_SECRET_FILE: the file is larger than 65536 bytes"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "MARU_JWT_SECRET_FILE: the file is empty"),
        (b"\n", "MARU_JWT_SECRET_FILE: the file is empty"),
        (b"\xff" * 40, "MARU_JWT_SECRET_FILE: the file is not UTF-8"),
        (b"canary" * 20_000, "MARU_JWT_SECRET_FILE: the file is larger than 65536 bytes"),
        (b'"canary-canary-canary-canary-canary"', "MARU_JWT_SECRET: stands in quotes"),
        (b"canary-canary-canary-canary-canary\n\n", "MARU_JWT_SECRET: begins or ends with a space or a line end"),
    ],
)
def test_a_bad_secret_in_a_file_is_one_line(env: Any, tmp_path: Path, content: bytes, line: str) -> None:
    """It names the variable, and repeats nothing of the file."""
    (tmp_path / "secret").write_bytes(content)
    said = refusal(env, JWT_SECRET="", JWT_SECRET_FILE=str(tmp_path / "secret"))
    assert said.startswith(line)
    assert "canary" not in said
