"""The settings: defaults, sources, and one clear line for whatever is wrong, without a secret in it."""

import configparser
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from server.domain.identity import Action
from server.settings.errors import BadSetting
from server.settings.load import ENV_FILE, describe, load
from server.settings.model import VERSION, BroadcastKind, EventLoop, LogFormat, MessageLogKind, Settings
from server.settings.values import duration

SECRET = "canary-canary-canary-canary-canary"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no variable of the outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("MARU_") or name.startswith("KUBERNETES_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables, given without their prefix, and load."""

    def start(**values: str) -> Settings:
        for name, value in ({"JWT_SECRET": SECRET} | values).items():
            monkeypatch.setenv(f"MARU_{name}", value)
        return load()

    return start


def refusal(env: Any, **values: str) -> str:
    """The one line that these variables give."""
    with pytest.raises(BadSetting) as caught:
        env(**values)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_defaults(env: Any) -> None:
    """With a secret alone: everywhere reachable, durable, in JSON."""
    settings = env()
    assert settings.model_dump() == {
        "dev": False,
        "host": "0.0.0.0",
        "port": 8080,
        "internal_host": "0.0.0.0",
        "internal_port": 9090,
        "allowed_origins": ("*",),
        "jwt_secret": SecretStr(SECRET),
        "jwt_public_key": None,
        "jwt_jwks_url": None,
        "jwt_issuer": None,
        "jwt_audience": None,
        "jwt_leeway": 5.0,
        "token_grace": 5.0,
        "default_grants": {},
        "api_keys": (),
        "redis_url": None,
        "message_log": MessageLogKind.SQLITE,
        "broadcast": BroadcastKind.MEMORY,
        "sqlite_path": Path("maru.db"),
        "retention_events": 100_000,
        "retention_age": 30 * 86_400.0,
        "ping_interval": 10.0,
        "ping_timeout": 10.0,
        "drain_timeout": 20.0,
        "max_channels": 500,
        "admission_rate": 2_000,
        "admission_burst": 5_000,
        "max_outbound": None,
        "event_loop": EventLoop.AUTO,
        "log_level": "info",
        "log_format": LogFormat.JSON,
    }


def test_development(env: Any) -> None:
    """`MARU_DEV=1` needs no secret, listens on this machine only, and writes for people; each can be told otherwise."""
    settings = env(DEV="1", JWT_SECRET="")
    assert (settings.host, settings.internal_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.log_format is LogFormat.CONSOLE
    assert settings.jwt_secret is None
    assert env(DEV="1", HOST="0.0.0.0", LOG_FORMAT="json").host == "0.0.0.0"


def test_values_are_parsed(env: Any) -> None:
    """Lists, grants, durations and names of either case."""
    settings = env(
        API_KEYS="first-key-1234567890, second-key-1234567890,",
        DEFAULT_GRANTS='{"room:*": ["join", "send"]}',
        ALLOWED_ORIGINS="https://Chat.example.com, http://localhost:3000",
        RETENTION_AGE="12h",
        PING_INTERVAL="2500ms",
        LOG_LEVEL="WARNING",
        MESSAGE_LOG="Memory",
    )
    assert [key.get_secret_value() for key in settings.api_keys] == ["first-key-1234567890", "second-key-1234567890"]
    assert settings.default_grants == {"room:*": {Action.JOIN, Action.SEND}}
    assert settings.allowed_origins == ("https://chat.example.com", "http://localhost:3000")
    assert settings.retention_age == 43_200
    assert settings.ping_interval == 2.5
    assert settings.log_level == "warning"
    assert settings.message_log is MessageLogKind.MEMORY


def test_the_environment_wins_over_the_file(env: Any) -> None:
    """`.env` of the working directory is read; an empty variable is one that is not set."""
    ENV_FILE.write_text('MARU_PORT=1111\nMARU_INTERNAL_PORT=2222\nOTHER=x\n# note\nexport MARU_HOST="::1"\n')
    settings = env(PORT="3333", INTERNAL_PORT="")
    assert (settings.port, settings.internal_port, settings.host) == (3333, 2222, "::1")


def test_settings_are_frozen(env: Any) -> None:
    """Nobody changes them at run time."""
    with pytest.raises(ValueError, match="frozen"):
        env().port = 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("12h", 43_200), ("30d", 2_592_000), ("5m", 300), ("250ms", 0.25), ("1.5", 1.5), ("0", 0), (7, 7)],
)
def test_durations(text: object, seconds: float) -> None:
    """A number and a unit; seconds where there is none."""
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1w", "1 h 2 m", "1e3", "nan", "inf", True, "0.5ms", "1.0001s", "9" * 40]
)
def test_no_durations(text: object) -> None:
    """Anything else, and parts of a millisecond."""
    with pytest.raises(ValueError, match="expected"):
        duration(text)


BAD: dict[str, tuple[dict[str, str], str]] = {
    "port a word": ({"PORT": "http"}, "MARU_PORT: expected a port from 0 to 65535 (0: any that is free), got 'http'"),
    "port too high": ({"PORT": "65536"}, "MARU_PORT: expected a port"),
    "dev": ({"DEV": "maybe"}, "MARU_DEV: expected 1 or 0, got 'maybe'"),
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
    "channels": ({"MAX_CHANNELS": "501"}, "MARU_MAX_CHANNELS: expected a number from 1 to 500, got '501'"),
    "log": ({"MESSAGE_LOG": "kafka"}, "MARU_MESSAGE_LOG: expected memory, sqlite or redis, got 'kafka'"),
    "level": ({"LOG_LEVEL": "loud"}, "MARU_LOG_LEVEL: expected debug, info, warning or error"),
    "format": ({"LOG_FORMAT": "xml"}, "MARU_LOG_FORMAT: expected json or console"),
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
    "jwks": ({"JWT_JWKS_URL": "https://id.example"}, "MARU_JWT_JWKS_URL: not supported yet; set MARU_JWT_PUBLIC_KEY"),
    "redis log": ({"MESSAGE_LOG": "redis"}, "MARU_MESSAGE_LOG: redis needs MARU_REDIS_URL, which is not set"),
    "redis broadcast": ({"BROADCAST": "redis"}, "MARU_BROADCAST: redis needs MARU_REDIS_URL, which is not set"),
    "a broadcast without its log": (
        {"REDIS_URL": "redis://:canary@r", "MESSAGE_LOG": "sqlite"},
        "MARU_BROADCAST: redis needs MARU_MESSAGE_LOG=redis; who shares hints must share the log",
    ),
    "secret short": ({"JWT_SECRET": "canary"}, "MARU_JWT_SECRET: 6 bytes, expected at least 32"),
    "secret short in bytes": ({"JWT_SECRET": "é" * 15}, "MARU_JWT_SECRET: 30 bytes, expected at least 32"),
    "secret missing": ({"JWT_SECRET": ""}, "MARU_JWT_SECRET: not set, expected a text of 32 bytes or more"),
    "secret a PEM": (
        {"JWT_SECRET": "-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n"},
        "MARU_JWT_SECRET: empty, or a PEM key or JWK",
    ),
    "api key short": ({"API_KEYS": "canary"}, "MARU_API_KEYS: expected keys of 16 to 256 printable"),
    "api key spaced": ({"API_KEYS": "canary canary canary"}, "MARU_API_KEYS: expected keys of 16 to 256 printable"),
    "public key no file": ({"JWT_PUBLIC_KEY": "/canary.pem"}, "MARU_JWT_PUBLIC_KEY: expected PEM text, or the path"),
    "public key broken": (
        {"JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----canary"},
        "MARU_JWT_PUBLIC_KEY: holds no public key",
    ),
    "two faults": ({"PORT": "x", "DEV": "x"}, "MARU_DEV: expected 1 or 0, got 'x' (and 1 more)"),
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
        ("WINDOW_COLOUR", "unset it (the README lists the known ones)"),
    ],
)
def test_an_unknown_variable_is_refused(env: Any, variable: str, hint: str) -> None:
    """With the nearest known one, and without its value."""
    said = refusal(env, **{variable: "canary"})
    assert said == f"MARU_{variable}: unknown variable; {hint}"


def test_an_unknown_variable_in_the_file_is_refused(env: Any) -> None:
    """Also there; others' variables are not ours to judge."""
    ENV_FILE.write_text("SOMETHING=1\nmaru_prot=1\nMARU_X=2\n")
    assert refusal(env) == ("MARU_X: unknown variable; unset it (the README lists the known ones) (and 1 more)")


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


KEYS: list[Any] = [
    rsa.generate_private_key(65_537, 2_048),
    ec.generate_private_key(ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.generate(),
]


def pem(key: Any) -> str:
    """The public half."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


@pytest.mark.parametrize("key", KEYS, ids=["RSA", "P-256", "Ed25519"])
def test_a_public_key_is_text_or_a_file(env: Any, key: Any, tmp_path: Path) -> None:
    """As PEM, as PEM on one line, or as a path: the settings hold the same text."""
    file = tmp_path / "key.pem"
    file.write_text(pem(key))
    for value in (pem(key), pem(key).replace("\n", "\\n"), str(file), "key.pem"):
        assert env(JWT_SECRET="", JWT_PUBLIC_KEY=value).jwt_public_key == pem(key)


def test_unfit_public_keys_are_refused(env: Any) -> None:
    """Private, weak and unknown ones, and one beside a secret."""
    private = KEYS[2].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert refusal(env, JWT_PUBLIC_KEY=private) == (
        "MARU_JWT_PUBLIC_KEY: holds a private key; the server takes the public key alone"
    )
    for weak in (rsa.generate_private_key(65_537, 1_024), ec.generate_private_key(ec.SECP384R1())):
        assert "an RSA key of 2048 bits or more, a P-256 key, or an Ed25519 key" in refusal(
            env, JWT_PUBLIC_KEY=pem(weak)
        )
    assert refusal(env, JWT_PUBLIC_KEY=pem(KEYS[0])) == (
        "MARU_JWT_SECRET, MARU_JWT_PUBLIC_KEY: both are set, expected one of them"
    )


def test_secrets_are_in_no_print(env: Any) -> None:
    """Neither in a repr, nor in `describe`, nor in JSON."""
    settings = env(API_KEYS="canary-canary-canary")
    shown = [entry.value for entry in describe(settings)]
    assert shown.count("********") == 2
    for text in (repr(settings), str(settings), str(shown), settings.model_dump_json()):
        assert "canary" not in text


def test_every_secret_field_is_hidden() -> None:
    """A secret of the future can't be forgotten: a SecretStr is never in the repr."""
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert secret
    assert not [name for name in secret if Settings.model_fields[name].repr]


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


def test_the_version_is_the_packages() -> None:
    """One release, one number."""
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parents[2] / "setup.cfg")
    assert metadata["metadata"]["version"] in {VERSION, "attr: server.settings.model.VERSION"}
