"""JSON Web Tokens of a test's own making, good and bad, and a verifier with a clock that stands."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.adapters.tokens.jwt_verifier import JwtVerifier
from server.adapters.tokens.key_source import FixedKeys
from server.adapters.tokens.keys import secret_key

SECRET = "a secret of the tests, longer than 32 bytes"
NOW = 1_800_000_000.0
HEADER: dict[str, Any] = {"alg": "HS256", "typ": "JWT"}
CLAIMS: dict[str, Any] = {"sub": "alice", "exp": NOW + 60}
LEEWAY = 5.0
RAW_HEADER = json.dumps(HEADER).encode()


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, secret: str = SECRET) -> str:
    """A token of any bytes, rightly signed with HS256."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(hmac.digest(secret.encode(), signing_input.encode(), hashlib.sha256))}"


def token(header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A rightly signed token of the default claims and these; a claim that is `...` is left out."""
    chosen = {claim: value for claim, value in (CLAIMS | claims).items() if value is not ...}
    return signed(json.dumps(HEADER | (header or {})).encode(), json.dumps(chosen).encode())


def verifier(**options: Any) -> JwtVerifier:
    """One with the tests' secret, and a clock that stands at NOW."""
    return JwtVerifier(FixedKeys(secret_key(SECRET)), leeway_s=LEEWAY, now_s=lambda: NOW, **options)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """The public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
