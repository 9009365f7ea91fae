"""Read a JWK Set (RFC 7517): the public keys of an issuer of tokens.

A key that can't be used is left out, with the reason; nothing of a stranger's text stands in a reason.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.adapters.tokens.claims import decode_base64url
from server.adapters.tokens.keys import Key, algorithm_of
from server.domain.outcomes import JwksFetch, KeyOrigin
from server.domain.texts import is_breaking, is_visible

MAX_KEYS = 64
"""Of a set."""

MAX_KID_CHARS = 256
"""Of a key's name. URLs and hashes fit."""

MAX_RSA_BITS = 8_192
MAX_EXPONENT_BITS = 64
"""Of an RSA key: larger keys cost whoever checks them more than whoever signs."""

_NAMES = {"EdDSA": ("EdDSA", "Ed25519")}
"""How a key may name its algorithm, if not by the token's name for it (RFC 9864)."""


class JwksRefused(Exception):
    """The issuer's answer is of no use. The text says why, for operators."""

    def __init__(self, outcome: JwksFetch, problem: str) -> None:
        super().__init__(problem)
        self.outcome = outcome


class KeySet(NamedTuple):
    """The keys of an issuer that can sign tokens, by `kid`, and why others can't."""

    keys: Mapping[str, Key]
    skipped: tuple[str, ...]


def is_kid(text: object) -> bool:
    """Say whether a key may be called so. A token with another `kid` has no key, whoever is asked."""
    return isinstance(text, str) and 1 <= len(text) <= MAX_KID_CHARS and not is_breaking(text) and is_visible(text)


def read(document: bytes) -> KeySet:
    """Return the keys of a set. Raises `JwksRefused` if it is malformed, too large, or has no key that can be used."""
    try:
        found = orjson.loads(document)
    except (ValueError, RecursionError):
        raise JwksRefused(JwksFetch.MALFORMED, "the answer is no JSON") from None
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise JwksRefused(JwksFetch.MALFORMED, "the answer is no set of keys: an object with a list 'keys'")
    if len(entries) > MAX_KEYS:
        raise JwksRefused(JwksFetch.TOO_LARGE, f"the set has {len(entries)} keys, expected at most {MAX_KEYS}")
    keys: dict[str, Key] = {}
    skipped: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            kid, key = _key(entry)
            if kid in keys:
                raise ValueError("its 'kid' is that of an earlier key, which is taken")
            keys[kid] = key
        except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
            skipped.append(f"key {number}: {error if type(error) is ValueError else 'malformed'}")
    if not keys:
        raise JwksRefused(JwksFetch.NO_KEYS, "; ".join(["the set has no key that can sign tokens", *skipped])[:500])
    return KeySet(keys, tuple(skipped))


def _key(entry: object) -> tuple[str, Key]:
    """Return a key with its name. Raises `ValueError` with the reason, or another error if it is malformed."""
    if not isinstance(entry, dict):
        raise TypeError
    kid, make = entry.get("kid"), _MAKERS.get(str(entry.get("kty")))
    if make is None:
        raise ValueError("its 'kty' is none of RSA, EC and OKP")
    if not isinstance(kid, str) or not is_kid(kid):
        raise ValueError(f"its 'kid' is no text of 1 to {MAX_KID_CHARS} characters that can be shown")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise ValueError("it is not for signatures")
    if "d" in entry:
        raise ValueError("it is a private key, which everybody can read now; replace it")
    try:
        material = make(entry)
        algorithm = algorithm_of(material)
    except KeyError:
        raise TypeError from None
    if entry.get("alg", algorithm) not in _NAMES.get(algorithm, (algorithm,)):
        raise ValueError("its 'alg' is none of RS256, ES256 and EdDSA, or not that of its type")
    encoded = material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    print_of = base64.urlsafe_b64encode(hashlib.sha256(encoded).digest()).decode().rstrip("=")
    return kid, Key(material, algorithm, KeyOrigin.JWKS, id=f"{kid} {print_of}")


def _number(entry: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_octets(entry, name), "big")


def _octets(entry: Mapping[str, Any], name: str) -> bytes:
    text = entry[name]
    if not isinstance(text, str):
        raise TypeError
    return decode_base64url(text.encode())


def _rsa(entry: Mapping[str, Any]) -> Any:
    modulus, exponent = _number(entry, "n"), _number(entry, "e")
    if modulus.bit_length() > MAX_RSA_BITS or exponent.bit_length() > MAX_EXPONENT_BITS:
        raise ValueError(f"expected an RSA key of at most {MAX_RSA_BITS} bits")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _p256(entry: Mapping[str, Any]) -> Any:
    if entry["crv"] != "P-256":
        raise ValueError("its curve is not P-256")
    return EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), SECP256R1()).public_key()


def _ed25519(entry: Mapping[str, Any]) -> Any:
    if entry["crv"] != "Ed25519":
        raise ValueError("its curve is not Ed25519")
    return Ed25519PublicKey.from_public_bytes(_octets(entry, "x"))


_MAKERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {"RSA": _rsa, "EC": _p256, "OKP": _ed25519}
"""By `kty`. A symmetric key (`oct`) is never taken: whoever can read the set could sign with it."""
