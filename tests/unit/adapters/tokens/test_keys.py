"""Keys: each with its one algorithm, and none that is unfit."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.key_source import FixedKeys
from server.adapters.tokens.keys import public_key, public_keys, secret_key
from server.domain.errors import Unauthenticated
from server.domain.outcomes import KeyOrigin
from tests.doubles.json_web_tokens import CLAIMS, NOW, RAW_HEADER, SECRET, pem, signed
from tests.doubles.metrics import RecordingMetrics

RSA_KEY = rsa.generate_private_key(65_537, 2_048)
PAIRS: list[tuple[str, Any]] = [
    ("RS256", RSA_KEY),
    ("ES256", ec.generate_private_key(ec.SECP256R1())),
    ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
]


@pytest.mark.parametrize(("algorithm", "key"), PAIRS)
async def test_public_keys_verify_by_their_type(algorithm: str, key: Any) -> None:
    """The key's type gives the one algorithm; a token signed by another key is refused."""
    asymmetric = JwtVerifier(FixedKeys(public_key(pem(key))), now_s=lambda: NOW)
    assert (await asymmetric.verify(jwt.encode(CLAIMS, key, algorithm))).user == "alice"
    stranger = {name: other for name, other in PAIRS if name != algorithm}
    for name, other in stranger.items():
        with pytest.raises(Unauthenticated):
            await asymmetric.verify(jwt.encode(CLAIMS, other, name))


async def test_a_public_key_is_no_secret() -> None:
    """HS256 signed with the public key's own text, the classic confusion, is refused; so is PS256 by the right key."""
    asymmetric = JwtVerifier(FixedKeys(public_key(pem(RSA_KEY))), now_s=lambda: NOW)
    forged = signed(RAW_HEADER, json.dumps(CLAIMS).encode(), pem(RSA_KEY))
    for text in (forged, jwt.encode(CLAIMS, RSA_KEY, "PS256")):
        with pytest.raises(Unauthenticated, match="algorithm is not allowed"):
            await asymmetric.verify(text)


def test_unfit_keys_are_refused_at_once() -> None:
    """Short secrets, PEM as a secret, weak RSA and other curves never become a verifier."""
    for secret in ("", "short", pem(RSA_KEY), '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}'):
        with pytest.raises(ValueError, match=r"expected at least 32|a PEM key or JWK"):
            secret_key(secret)
    for key in (rsa.generate_private_key(65_537, 1_024), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(ValueError, match="key"):
            public_key(pem(key))


async def test_several_public_keys_in_one_text() -> None:
    """The first is the current key, the others are previous keys; comments between the blocks are left out."""
    text = "our keys\n" + "\nwhich come before:\n".join(pem(key) for _, key in PAIRS)
    keys = public_keys(text)
    assert [(key.algorithm, key.origin) for key in keys] == [
        ("RS256", KeyOrigin.CURRENT),
        ("ES256", KeyOrigin.PREVIOUS),
        ("EdDSA", KeyOrigin.PREVIOUS),
    ]
    several, metrics = FixedKeys(*keys), RecordingMetrics()
    checks = JwtVerifier(several, now_s=lambda: NOW, metrics=metrics)
    for algorithm, key in PAIRS:
        await checks.verify(jwt.encode(CLAIMS, key, algorithm))
    assert metrics.of("token_verified") == [(key.origin,) for key in keys]
    with pytest.raises(Unauthenticated, match="expected RS256 or ES256 or EdDSA"):
        await checks.verify(jwt.encode(CLAIMS, SECRET, "HS256"))
    with pytest.raises(Unauthenticated, match="signature does not match"):
        await checks.verify(jwt.encode(CLAIMS, rsa.generate_private_key(65_537, 2_048), "RS256"))


def test_a_bad_block_is_named() -> None:
    """By its number; so is a text of too many, and a private key anywhere."""
    good, weak = pem(RSA_KEY), pem(rsa.generate_private_key(65_537, 1_024))
    with pytest.raises(ValueError, match=r"2048 bits or more.*, in block 2 of 3"):
        public_keys(good + weak + good)
    with pytest.raises(ValueError, match="holds 17 keys, expected at most 16"):
        public_keys(good * 17)
    with pytest.raises(ValueError, match="private key"):
        public_keys(good + "-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match="no public key in PEM"):
        public_keys(good[:40])


@pytest.mark.parametrize(
    ("part", "damaged"),
    [
        ("-----END PUBLIC KEY-----", ""),
        ("-----BEGIN PUBLIC KEY-----", ""),
        ("-----END", "----END"),
        ("-----BEGIN", "----BEGIN"),
        ("END PUBLIC", "END RSA PUBLIC"),
        ("BEGIN PUBLIC", "begin public"),
    ],
)
def test_a_damaged_block_is_not_passed_over(part: str, damaged: str) -> None:
    """Its tokens would be refused, and nobody would know why; first or last."""
    good, other = pem(RSA_KEY), pem(ec.generate_private_key(ec.SECP256R1()))
    for text in (good + other.replace(part, damaged), other.replace(part, damaged) + good):
        with pytest.raises(ValueError, match="damaged block"):
            public_keys(text)


def test_keys_are_not_shown() -> None:
    """The repr of a key holds nothing of its material."""
    assert repr(secret_key(SECRET)).startswith("Key(algorithm='HS256', origin=")
    assert SECRET not in repr(secret_key(SECRET))
