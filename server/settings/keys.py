"""The keys that tokens are checked with: refused here, before the server starts, if they are unfit."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm
from pydantic import SecretStr

MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

MIN_RSA_BITS = 2_048
"""RFC 7518, section 3.3."""


def secret(value: SecretStr) -> SecretStr:
    """Return an HS256 secret unchanged. Raises `ValueError` if it is short, or no secret at all."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value.get_secret_value())
    except InvalidKeyError:
        raise ValueError("empty, or a PEM key or JWK; a public key belongs into MARU_JWT_PUBLIC_KEY") from None
    if (size := len(value.get_secret_value().encode())) < MIN_SECRET_BYTES:
        raise ValueError(f"{size} bytes, expected at least {MIN_SECRET_BYTES}; make one: openssl rand -hex 32")
    return value


def public_key(value: str) -> str:
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
