"""The keys that check signatures, each with the only algorithm that is allowed with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

ALGORITHMS: Mapping[str, Algorithm] = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
    "EdDSA": OKPAlgorithm(),
}


@dataclass(frozen=True, slots=True)
class Key:
    """What signatures are checked with, and the only algorithm that is allowed with it."""

    material: Any = field(repr=False)
    algorithm: str


def secret_key(secret: str) -> Key:
    """A key for HS256. Raises `ValueError` where the secret is too short, or a public key or a JWK by mistake."""
    algorithm = HMACAlgorithm(HMACAlgorithm.SHA256)
    try:
        key = algorithm.prepare_key(secret)
    except InvalidKeyError:
        raise ValueError("the secret is an asymmetric key or a JWK, or empty") from None
    return _long_enough(algorithm, key, "HS256")


def public_key(pem: str) -> Key:
    """A key for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519). Raises `ValueError` where it is none of them."""
    key = load_pem_public_key(pem.encode())
    if isinstance(key, RSAPublicKey):
        return _long_enough(RSAAlgorithm(RSAAlgorithm.SHA256), key, "RS256")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Key(key, "ES256")
    if isinstance(key, Ed25519PublicKey):
        return Key(key, "EdDSA")
    raise ValueError("the public key is neither RSA, P-256 nor Ed25519")


def _long_enough(algorithm: Algorithm, key: Any, name: str) -> Key:
    """PyJWT would only warn, and with every token."""
    if weakness := algorithm.check_key_length(key):
        raise ValueError(weakness)
    return Key(key, name)
