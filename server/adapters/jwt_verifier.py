"""JSON Web Tokens (RFC 7519) in the compact form: verifying them, and minting them for development.

PyJWT's algorithms check the signature; the compact form and the claims are judged here, so that clock and leeway are
ours, JSON is strict, and each refusal has a text of its own that holds nothing of the token. `PyJWS`, which takes the
same tokens (a test holds the two together), looks at every character of them in Python.
"""

import base64
import binascii
import hashlib
import math
import re
import time
import unicodedata
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt import encode as jwt_encode
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from server.domain.channels import is_pattern
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS, Action, Grants, Identity, UserId
from server.ports.token_verifier import TokenVerifier

MAX_TOKEN_CHARS = 16 * 1024
"""More is not parsed; the same bound stands on the wire."""

MAX_GRANTS = 1_000
"""Patterns in one token: each `authorize` looks at all of them."""

MAX_TOKEN_ID_CHARS = 128

HEADERS_REMEMBERED = 64
"""Headers of tokens that have been judged: an issuer writes the same one into every token."""

TOKENS_REMEMBERED = 16_384
"""Tokens whose signature has been checked, by their hash: after a deploy everybody comes back with the one they had."""

REMEMBERED_CHARS = 8 * 1024 * 1024
"""Of those tokens together: what is kept of one grows with its grants."""

YEAR_10000 = 253_402_300_800
"""Seconds since the epoch; `session:ready` writes `exp` as a date of RFC 3339, which has four digits for the year."""

_ACTIONS = {action.value: action for action in Action}
_shared: dict[frozenset[Action], frozenset[Action]] = {}
"""Each set of actions once, however many sessions hold it; at most one per combination."""


_SEGMENT = rb"([A-Za-z0-9_-]*={0,2})"
_COMPACT = re.compile(_SEGMENT + rb"\." + _SEGMENT + rb"\." + _SEGMENT)  # RFC 7515, section 7.1

_ALGORITHMS: Mapping[str, Algorithm] = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
    "EdDSA": OKPAlgorithm(),
}


class _Verified(NamedTuple):
    """What a token says that was signed with the key. Times in seconds since the epoch."""

    identity: Identity
    not_before_s: float | None
    expires_s: float
    chars: int


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


class JwtVerifier(TokenVerifier):
    """Verifies tokens signed with one key.

    `issuer` and `audience` are required of a token where they are set; a token that names an audience is refused where
    none is set (RFC 7519, section 4.1.3). A token without the claim `channels` has `default_grants`; an empty claim
    grants nothing. Actions this version does not know are ignored, so that tokens for a newer one work.
    `leeway_s` forgives clocks that differ, for `exp` and `nbf`; `now_s` is wall-clock time in seconds.
    """

    def __init__(
        self,
        key: Key,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway_s: float = 5.0,
        default_grants: Grants | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._default_grants: Final[Grants] = dict(default_grants or {})
        self._now_s = now_s
        self._algorithm = _ALGORITHMS[key.algorithm]
        self._fault_of_header = lru_cache(maxsize=HEADERS_REMEMBERED)(self._judge_header)
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()
        self._remembered_chars = 0

    async def verify(self, token: str) -> Identity:
        """Return who the token speaks for. Some 30 µs of CPU with HS256, so it needs no thread; less for a token that
        was verified before: its times are looked at again, and nothing else of it can change."""
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            raise Unauthenticated("the token is malformed")
        written = token.encode()
        place = hashlib.sha256(written).digest()
        verified = self._remembered.get(place)
        if verified is None:
            verified = self._verified(written)
            self._check_times(verified)
            self._remember(place, verified)
        else:
            self._check_times(verified)
        return verified.identity

    def _verified(self, token: bytes) -> "_Verified":
        claims, fault = self._decode(token)
        # Raised outside of any `except`: no library's error, which may quote the token, is in the chain.
        if claims is None:
            raise Unauthenticated(fault)
        self._check_origin(claims)
        expires_s = _time(claims, "exp")
        if expires_s is None:
            raise Unauthenticated("the token has no 'exp'")
        identity = Identity(
            user=_user(claims.get("sub")),
            name=_optional_text(claims, "name", MAX_NAME_CHARS),
            grants=self._grants(claims),
            expires_at=int(expires_s * 1_000),
            token_id=_optional_text(claims, "jti", MAX_TOKEN_ID_CHARS),
        )
        return _Verified(identity, _time(claims, "nbf"), expires_s, len(token))

    def _remember(self, place: bytes, verified: "_Verified") -> None:
        """Keep what was verified, and forget the oldest of it: no token, and no more than the bounds."""
        self._remembered[place] = verified
        self._remembered_chars += verified.chars
        while len(self._remembered) > TOKENS_REMEMBERED or self._remembered_chars > REMEMBERED_CHARS:
            self._remembered_chars -= self._remembered.popitem(last=False)[1].chars

    def _decode(self, token: bytes) -> tuple[dict[str, Any] | None, str]:
        """Check the signature (RFC 7515, section 5.2); return the claims, or what is wrong."""
        found = _COMPACT.fullmatch(token)
        if found is None:
            return None, "the token is malformed"
        try:
            if (fault := self._fault_of_header(found[1])) is not None:
                return None, fault
            payload, signature = _octets(found[2]), _octets(found[3])
            if not self._algorithm.verify(token[: found.end(2)], self._key.material, signature):
                return None, "the token's signature does not match"
            claims = orjson.loads(payload)
        except (ValueError, RecursionError):
            return None, "the token is malformed"
        if not isinstance(claims, dict):
            return None, "the token's claims are no JSON object"
        return claims, ""

    def _judge_header(self, written: bytes) -> str | None:
        """Return what is wrong with a header. Raises `ValueError` where it is none."""
        header = orjson.loads(_octets(written))
        if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
            return "the token is malformed"
        if "crit" in header or "b64" in header:
            return "the token's header asks for an extension that is not supported"
        if header.get("alg") != self._key.algorithm:
            return f"the token's algorithm is not allowed; expected {self._key.algorithm}"
        return None

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise Unauthenticated("the token's 'iss' is not the issuer that this server trusts")
        named = claims.get("aud")
        if self._audience is None:
            fits = not named
        else:
            fits = self._audience in (named if isinstance(named, list) else [named])
        if not fits:
            raise Unauthenticated("the token's 'aud' does not name this server")

    def _check_times(self, verified: "_Verified") -> None:
        now = self._now_s()
        if verified.not_before_s is not None and now + self._leeway_s < verified.not_before_s:
            raise Unauthenticated("the token is not valid yet ('nbf')")
        if now >= verified.expires_s + self._leeway_s:
            raise TokenExpired("the token has expired")

    def _grants(self, claims: Mapping[str, Any]) -> Grants:
        channels = claims.get("channels")
        if channels is None:
            return self._default_grants
        if not isinstance(channels, dict):
            raise Unauthenticated("the token's 'channels' is no JSON object")
        if len(channels) > MAX_GRANTS:
            raise Unauthenticated(f"the token's 'channels' has more than {MAX_GRANTS} patterns")
        return {_pattern(pattern): _actions(actions) for pattern, actions in channels.items()}


def mint(  # noqa: PLR0913 a key and the claims that are signed with it
    secret: str,
    *,
    user: str,
    name: str | None = None,
    grants: Mapping[str, Collection[Action]] | None = None,
    ttl_s: float,
    now_s: float,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Sign an HS256 token that `JwtVerifier` takes until `now_s + ttl_s`.

    `grants` None leaves the claim `channels` out, so that the server's default grants hold. Raises `ValueError` where
    the server would refuse the token.
    """
    key = secret_key(secret)
    try:
        _user(user)
        claims: dict[str, Any] = {
            "sub": user,
            "iat": int(now_s),
            "exp": round(now_s + ttl_s, 3),
            "jti": uuid.uuid4().hex,
        }
        claims |= {
            claim: text for claim, text in (("name", name), ("iss", issuer), ("aud", audience)) if text is not None
        }
        _optional_text(claims, "name", MAX_NAME_CHARS)
        _time(claims, "exp")
        if grants is not None:
            claims["channels"] = {_pattern(pattern): sorted(actions) for pattern, actions in grants.items()}
    except Unauthenticated as error:
        raise ValueError(error.message) from None
    return jwt_encode(claims, key.material, key.algorithm)


def _octets(text: bytes) -> bytes:
    """Undo base64url (RFC 7515, section 2), where there is one spelling of each value; padding, which some issuers
    write, is let pass. Raises `ValueError`."""
    bare = text.rstrip(b"=")
    if bare != text and len(text) % 4:
        raise ValueError("padding")
    try:
        octets = base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
    except binascii.Error:
        raise ValueError("base64") from None
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != bare:
        raise ValueError("spelling")
    return octets


def _user(sub: object) -> UserId:
    if sub is None:
        raise Unauthenticated("the token has no 'sub'")
    if not isinstance(sub, str) or not 1 <= len(sub) <= MAX_USER_CHARS or not _plain(sub):
        raise Unauthenticated(
            f"the token's 'sub' is no text of 1 to {MAX_USER_CHARS} characters without control characters"
        )
    return UserId(sub)


def _optional_text(claims: Mapping[str, Any], claim: str, limit: int) -> str | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit or not _plain(value):
        raise Unauthenticated(
            f"the token's '{claim}' is no text of at most {limit} characters without control characters"
        )
    return value


def _plain(text: str) -> bool:
    """Whether the text has no control characters and no line breaks that a page or a log would act upon."""
    return text.isprintable() or not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)


def _time(claims: Mapping[str, Any], claim: str) -> float | None:
    """A NumericDate in seconds."""
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"the token's '{claim}' is no number")
    if not math.isfinite(value) or not 0 <= value < YEAR_10000:
        raise Unauthenticated(f"the token's '{claim}' is no time before the year 10000, in seconds since 1970")
    return float(value)


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise Unauthenticated("a pattern in the token's 'channels' is malformed")
    return text


def _actions(names: object) -> frozenset[Action]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unauthenticated("the token's 'channels' gives a pattern something other than a list of actions")
    actions = frozenset(_ACTIONS[name] for name in names if name in _ACTIONS)
    return _shared.setdefault(actions, actions)
