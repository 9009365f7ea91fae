"""The keys that check signatures, each with the only algorithm that is allowed with it.

A key that is unfit is refused with a `ValueError`, whose text says what was expected and holds nothing of the key.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from server.domain.outcomes import KeyOrigin

MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

MIN_RSA_BITS = 2_048
"""RFC 7518, section 3.3."""

MAX_PEM_KEYS = 16
"""Of a text. A token is tried with each key of its algorithm."""

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----[^-]*-----END \1-----")
_PEM_LINE = re.compile(r"-{3,} ?(BEGIN|END)\b|\b(BEGIN|END) [A-Z0-9 ]{1,64}-{3,}", re.IGNORECASE)
"""A line that begins or ends a block, perhaps damaged."""

_HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)


def _matches_hs256(signed: bytes, material: bytes, signature: bytes) -> bool:
    """Check as PyJWT does, with a digest in one call: the object that PyJWT makes takes twice as long."""
    return hmac.compare_digest(hmac.digest(material, signed, "sha256"), signature)


SignatureCheck = Callable[[bytes, Any, bytes], bool]
"""Says whether the signature of what is signed is that of the key's material."""

SIGNATURE_CHECKS: Mapping[str, SignatureCheck] = {
    "HS256": _matches_hs256,
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256).verify,
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1).verify,
    "EdDSA": OKPAlgorithm().verify,
}
"""The check of a signature, by the name that a token's header gives. Public keys are checked by PyJWT."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the only algorithm that is allowed with it.

    `id` tells a key that comes and goes while the server runs from every other; it is None if the key is fixed. From
    `until_s` on, wall-clock time in seconds, the key is good for nothing; None: it has no such end.
    """

    material: Any = field(repr=False)
    algorithm: str
    origin: KeyOrigin = KeyOrigin.CURRENT
    id: str | None = None
    until_s: float | None = None


def secret_key(secret: str, origin: KeyOrigin = KeyOrigin.CURRENT, until_s: float | None = None) -> Key:
    """Return the HS256 key of a secret. Raises `ValueError` if it is short, or a PEM key or JWK by mistake."""
    try:
        material = _HS256.prepare_key(secret)
    except InvalidKeyError:
        raise ValueError("empty, or a PEM key or JWK; a public key belongs into MARU_JWT_PUBLIC_KEY") from None
    if len(material) < MIN_SECRET_BYTES:
        raise ValueError(f"{len(material)} bytes, expected at least {MIN_SECRET_BYTES}; make one: openssl rand -hex 32")
    return Key(material, "HS256", origin, until_s=until_s)


def public_keys(pem: str) -> list[Key]:
    """Return the keys of a text of one or more PEM blocks; the first is the current key, the others are previous keys.

    Raises `ValueError` if a block is no key of `public_key`.
    """
    if "PRIVATE KEY" in pem:
        raise ValueError("holds a private key; the server takes the public key alone")
    blocks = [found[0] for found in _PEM_BLOCK.finditer(pem)] or [pem]
    if blocks != [pem] and _PEM_LINE.search(_PEM_BLOCK.sub("", pem)):
        raise ValueError("holds a damaged block beside whole ones; expected -----BEGIN … to -----END … for each key")
    if len(blocks) > MAX_PEM_KEYS:
        raise ValueError(f"holds {len(blocks)} keys, expected at most {MAX_PEM_KEYS}")
    keys: list[Key] = []
    for number, block in enumerate(blocks, 1):
        try:
            keys.append(public_key(block, KeyOrigin.PREVIOUS if keys else KeyOrigin.CURRENT))
        except ValueError as error:
            raise ValueError(f"{error}, in block {number} of {len(blocks)}" if len(blocks) > 1 else error) from None
    return keys


def public_key(pem: str, origin: KeyOrigin = KeyOrigin.CURRENT) -> Key:
    """Return the key of a PEM block. Raises `ValueError` if it is none that `algorithm_of` knows."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    return Key(key, algorithm_of(key), origin)


def algorithm_of(key: object) -> str:
    """Return RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519). Raises `ValueError` if the key is for none of these."""
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    raise ValueError(f"expected an RSA key of {MIN_RSA_BITS} bits or more, a P-256 key, or an Ed25519 key")
