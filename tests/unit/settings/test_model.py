"""The settings: their defaults, their types, and what is hidden of them."""

import configparser
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from server.domain.identity import Action
from server.domain.rates import DEFAULTS
from server.settings.choices import (
    BroadcastKind,
    Development,
    EventLoop,
    KafkaMechanism,
    KafkaSecurity,
    LogFormat,
    MessageLogKind,
)
from server.settings.model import VERSION, Settings

SECRET = "canary-canary-canary-canary-canary"


def test_defaults(env: Any) -> None:
    """With a secret alone: everywhere reachable, durable, in JSON."""
    settings = env()
    assert settings.model_dump() == {
        "dev": Development.OFF,
        "host": "0.0.0.0",
        "port": 8080,
        "internal_host": "127.0.0.1",
        "internal_port": 9090,
        "allowed_origins": ("*",),
        "jwt_secret": SecretStr(SECRET),
        "jwt_secret_file": None,
        "jwt_secret_previous": None,
        "jwt_secret_previous_file": None,
        "jwt_secret_previous_until": None,
        "jwt_public_key": None,
        "jwt_public_key_file": None,
        "jwt_jwks_url": None,
        "jwt_jwks_insecure": False,
        "jwt_issuer": None,
        "jwt_audience": None,
        "jwt_leeway": 5.0,
        "jwt_max_lifetime": 0.0,
        "revocation_life": 2_592_000.0,
        "token_grace": 5.0,
        "default_grants": {},
        "api_keys": (),
        "api_keys_file": None,
        "api_host": None,
        "api_port": None,
        "redis_url": None,
        "redis_url_file": None,
        "postgres_url": None,
        "postgres_url_file": None,
        "postgres_listen_url": None,
        "postgres_listen_url_file": None,
        "kafka_servers": None,
        "kafka_security": KafkaSecurity.PLAINTEXT,
        "kafka_ca": None,
        "kafka_certificate": None,
        "kafka_certificate_key": None,
        "kafka_user": None,
        "kafka_password": None,
        "kafka_password_file": None,
        "kafka_mechanism": KafkaMechanism.SCRAM_SHA_512,
        "kafka_topic": "maru.hints",
        "kafka_egress_topic": None,
        "kafka_ingest_topic": None,
        "kafka_ingest_group": "maru",
        "nats_url": None,
        "nats_url_file": None,
        "nats_prefix": "maru",
        "nats_replicas": 1,
        "cluster_secret": None,
        "cluster_secret_file": None,
        "message_log": MessageLogKind.SQLITE,
        "broadcast": BroadcastKind.MEMORY,
        "redis_prefix": "maru:2:",
        "redis_wait_replicas": 0,
        "sqlite_path": Path("maru.db"),
        "max_log_bytes": None,
        "retention_events": 100_000,
        "retention_age": 30 * 86_400.0,
        "ping_interval": 10.0,
        "ping_timeout": 10.0,
        "drain_timeout": 20.0,
        "max_channels": 500,
        "admission_rate": 8_000,
        "admission_burst": 10_000,
        "limits": {bucket: asdict(rate) for bucket, rate in DEFAULTS.items()},
        "limit_tiers": {},
        "channel_rules": {},
        "webhooks": (),
        "webhooks_file": None,
        "hook_url": None,
        "hook_secret": None,
        "hook_secret_file": None,
        "hook_secret_previous": None,
        "hook_secret_previous_file": None,
        "max_connections": 0,
        "trusted_proxies": None,
        "address_connections": 4_000,
        "address_unconnected": 300,
        "max_outbound": None,
        "max_rings": 64 << 20,
        "event_loop": EventLoop.AUTO,
        "log_level": "info",
        "log_format": LogFormat.JSON,
        "log_commands_per_second": 20,
    }


def test_development(env: Any) -> None:
    """`MARU_DEV=1` needs no secret, listens on this machine only, and writes for people; each can be told otherwise."""
    settings = env(DEV="1", JWT_SECRET="")
    assert (settings.host, settings.internal_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.log_format is LogFormat.CONSOLE
    assert settings.jwt_secret is None
    assert env(DEV="1", JWT_SECRET="", HOST="::1", LOG_FORMAT="json").host == "::1"


@pytest.mark.parametrize("word", ["1", "true", "Yes", " on "])
def test_development_by_any_word_for_yes(env: Any, word: str) -> None:
    """As every other switch takes them."""
    assert env(DEV=word.strip(), JWT_SECRET="").dev is Development.ON
    assert not env(DEV="no").dev


def test_development_in_public_is_said_in_full(env: Any) -> None:
    """Beside the things of a production, and on any host."""
    settings = env(DEV="insecure-public", HOST="0.0.0.0", REDIS_URL="redis://redis", API_KEYS="k" * 16)
    assert settings.dev is Development.PUBLIC
    assert settings.jwt_secret is not None


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


def test_a_login_of_kafka_goes_by_tls(env: Any) -> None:
    """Unless the settings say otherwise."""
    login = {"KAFKA_SERVERS": "kafka:9092", "KAFKA_EGRESS_TOPIC": "events", "KAFKA_USER": "maru", "KAFKA_PASSWORD": "x"}
    assert env(**login).kafka_security is KafkaSecurity.SASL_SSL
    assert env(**login, KAFKA_SECURITY="SASL_PLAINTEXT").kafka_security is KafkaSecurity.SASL_PLAINTEXT


def test_settings_are_frozen(env: Any) -> None:
    """Nobody changes them at run time."""
    with pytest.raises(ValueError, match="frozen"):
        env().port = 1


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


def test_every_secret_field_is_hidden() -> None:
    """A secret of the future can't be forgotten: a SecretStr is never in the repr."""
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert secret
    assert not [name for name in secret if Settings.model_fields[name].repr]


def test_the_version_is_the_packages() -> None:
    """One release, one number."""
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parents[3] / "setup.cfg")
    assert metadata["metadata"]["version"] in {VERSION, "attr: server.settings.model.VERSION"}
