"""Keys: the settings' key is judged, in one line that names the variable, without the key in it."""

import re
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr
from structlog.testing import capture_logs

from server.bootstrap.keys import check_key, tell_of_doubts, token_keys
from server.domain.outcomes import KeyOrigin
from server.settings.choices import Development
from server.settings.errors import BadSetting, StartRefused
from server.settings.model import Settings

SECRET = "canary-canary-canary-canary-canary"
PRIVATE_KEY = ed25519.Ed25519PrivateKey.generate()


def settings(secret: str | None = None, public_key: str | None = None) -> Settings:
    """Development settings with this key."""
    held = None if secret is None else SecretStr(secret)
    return Settings(_env_file=None, dev=Development.PUBLIC, jwt_secret=held, jwt_public_key=public_key)


def refusal(**key: str) -> str:
    """The one line that this key gives."""
    with pytest.raises(BadSetting) as caught:
        check_key(settings(**key))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def pem(key: Any) -> str:
    """The public half."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def private_pem() -> str:
    """A private key, by mistake."""
    return PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("secret", "line"),
    [
        ("canary", "MARU_JWT_SECRET: 6 bytes, expected at least 32; make one: openssl rand -hex 32"),
        ("é" * 15, "MARU_JWT_SECRET: 30 bytes, expected at least 32; make one: openssl rand -hex 32"),
        (
            "-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n",
            "MARU_JWT_SECRET: empty, or a PEM key or JWK; a public key belongs into MARU_JWT_PUBLIC_KEY",
        ),
        (
            '{"kty": "oct", "k": "canary-canary-canary-canary"}',
            "MARU_JWT_SECRET: empty, or a PEM key or JWK; a public key belongs into MARU_JWT_PUBLIC_KEY",
        ),
    ],
    ids=["short", "short in bytes", "a PEM key", "a JWK"],
)
def test_an_unfit_secret_is_one_line(secret: str, line: str) -> None:
    """It says what was expected, and repeats nothing of the secret."""
    assert refusal(secret=secret) == line


UNFIT = "expected an RSA key of 2048 bits or more, a P-256 key, or an Ed25519 key"
PUBLIC_KEYS = {
    "private": (private_pem, "holds a private key; the server takes the public key alone"),
    "broken": (lambda: "-----BEGIN PUBLIC KEY-----canary", "holds no public key in PEM (-----BEGIN PUBLIC KEY-----)"),
    "weak RSA": (lambda: pem(rsa.generate_private_key(65_537, 1_024)), UNFIT),
    "P-384": (lambda: pem(ec.generate_private_key(ec.SECP384R1())), UNFIT),
}


@pytest.mark.parametrize("name", PUBLIC_KEYS)
def test_an_unfit_public_key_is_one_line(name: str) -> None:
    """Private, broken, weak and unknown keys."""
    make, line = PUBLIC_KEYS[name]
    assert refusal(public_key=make()) == f"MARU_JWT_PUBLIC_KEY: {line}"


def test_fit_keys_pass() -> None:
    """The key's type gives its algorithm."""
    check_key(settings(secret=SECRET))
    assert [key.algorithm for key in token_keys(settings(secret=SECRET))] == ["HS256"]
    check_key(settings(public_key=pem(PRIVATE_KEY)))
    assert [key.algorithm for key in token_keys(settings(public_key=pem(PRIVATE_KEY)))] == ["EdDSA"]


def test_a_previous_secret_is_the_second_key() -> None:
    """With its end, if it has one; one that is unfit is named by its variable. A secret of a simple pattern passes."""
    held: dict[str, Any] = {"jwt_secret": SecretStr("k7" * 20), "jwt_secret_previous": SecretStr("j6" * 20)}
    given = Settings(_env_file=None, **held, jwt_secret_previous_until=datetime(2027, 1, 31, 12, tzinfo=UTC))
    check_key(given)
    assert [(key.origin, key.until_s) for key in token_keys(given)] == [
        (KeyOrigin.CURRENT, None),
        (KeyOrigin.PREVIOUS, 1_801_396_800.0),
    ]
    pasted = SecretStr("-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n")
    with pytest.raises(BadSetting, match="MARU_JWT_SECRET_PREVIOUS: empty, or a PEM key or JWK"):
        token_keys(Settings(_env_file=None, **{**held, "jwt_secret_previous": pasted}))


def test_development_may_have_no_key_yet() -> None:
    """Nothing is refused before the development secret is made; without it no token can be checked."""
    check_key(settings())
    with pytest.raises(StartRefused, match="MARU_JWT_SECRET: not set"):
        token_keys(settings())


@pytest.mark.parametrize("name", ["jwt_secret", "jwt_secret_previous", "cluster_secret"])
def test_a_weak_secret_is_refused_outside_of_development(name: str) -> None:
    """One that can be guessed or is published, or is short, in a line without it; a random one passes."""
    lines = {
        "secret" * 6: r"can be guessed \(about \d+ bits of 128\)",
        "your-256-bit-secret-your-256-bit-secret": "published, so anybody has it",
        "c4n4ry": "6 bytes, expected at least 32",
    }
    for secret, line in lines.items():
        with pytest.raises(BadSetting) as caught:
            check_key(production(name, secret))
        assert re.fullmatch(rf"MARU_{name.upper()}: {line}; make one: openssl rand -hex 32", str(caught.value))
    check_key(production(name, token_hex(32)))


@pytest.mark.parametrize("name", ["jwt_secret", "jwt_secret_previous", "cluster_secret"])
def test_a_secret_that_may_be_guessed_is_warned_of(name: str) -> None:
    """At each start, without the secret; not of a random one, nor in development."""
    with capture_logs() as lines:
        tell_of_doubts(production(name, "canary" * 8))
        tell_of_doubts(production(name, token_hex(32)))
        tell_of_doubts(settings())
    assert [(line["event"], line["log_level"], line["variable"]) for line in lines] == [
        ("secret.doubted", "warning", f"MARU_{name.upper()}")
    ]
    assert "canary" not in str(lines)


def production(name: str, secret: str) -> Settings:
    """Settings of a production in which one secret is this."""
    held: dict[str, Any] = {"jwt_secret": SecretStr(token_hex(32))} | {name: SecretStr(secret)}
    return Settings(_env_file=None, **held)
