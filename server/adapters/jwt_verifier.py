"""JSON Web Tokens (RFC 7519) in the compact form: verifying them, and minting them for development.

PyJWT's `PyJWS` checks the signature; the claims are judged here, so that clock and leeway are ours, JSON is strict, and
each refusal has a text of its own that holds nothing of the token.
"""

import math
import time
import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidAlgorithmError, InvalidKeyError, InvalidSignatureError, PyJWS, PyJWTError
from jwt import encode as jwt_encode
from jwt.algorithms import Algorithm, HMACAlgorithm, RSAAlgorithm

from server.domain.channels import is_pattern
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS, Action, Grants, Identity, UserId
from server.ports.token_verifier import TokenVerifier

MAX_TOKEN_CHARS = 16 * 1024
"""More is not parsed; the same bound stands on the wire."""

MAX_GRANTS = 1_000
"""Patterns in one token: each `authorize` looks at all of them."""

MAX_TOKEN_ID_CHARS = 128

YEAR_10000 = 253_402_300_800
"""Seconds since the epoch; `session:ready` writes `exp` as a date of RFC 3339, which has four digits for the year."""

_ACTIONS = {action.value: action for action in Action}
_shared: dict[frozenset[Action], frozenset[Action]] = {}
"""Each set of actions once, however many sessions hold it; at most one per combination."""


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
        self._jws = PyJWS(algorithms=[key.algorithm])
        if key.algorithm == "HS256":
            self._jws.unregister_algorithm("HS256")
            self._jws.register_algorithm("HS256", _PreparedHmac(HMACAlgorithm.SHA256))

    async def verify(self, token: str) -> Identity:
        """Return who the token speaks for. Some 50 µs of CPU with HS256, so it needs no thread."""
        claims = self._signed_claims(token)
        self._check_origin(claims)
        expires_s = self._check_times(claims)
        return Identity(
            user=_user(claims.get("sub")),
            name=_optional_text(claims, "name", MAX_NAME_CHARS),
            grants=self._grants(claims),
            expires_at=int(expires_s * 1_000),
            token_id=_optional_text(claims, "jti", MAX_TOKEN_ID_CHARS),
        )

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        claims, fault = self._decode(token)
        # Raised outside of the `except` above it: the library's error, which quotes the token, is not in the chain.
        if claims is None:
            raise Unauthenticated(fault)
        return claims

    def _decode(self, token: str) -> tuple[dict[str, Any] | None, str]:
        try:
            signed = self._jws.decode_complete(token, self._key.material, [self._key.algorithm])
            if "crit" in signed["header"] or "b64" in signed["header"]:
                return None, "the token's header asks for an extension that is not supported"
            claims = orjson.loads(signed["payload"])
        except InvalidSignatureError:
            return None, "the token's signature does not match"
        except InvalidAlgorithmError:
            return None, f"the token's algorithm is not allowed; expected {self._key.algorithm}"
        except (PyJWTError, ValueError, RecursionError):
            return None, "the token is malformed"
        if not isinstance(claims, dict):
            return None, "the token's claims are no JSON object"
        return claims, ""

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

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        now, expires_s = self._now_s(), _time(claims, "exp")
        if expires_s is None:
            raise Unauthenticated("the token has no 'exp'")
        not_before = _time(claims, "nbf")
        if not_before is not None and now + self._leeway_s < not_before:
            raise Unauthenticated("the token is not valid yet ('nbf')")
        if now >= expires_s + self._leeway_s:
            raise TokenExpired("the token has expired")
        return expires_s

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


class _PreparedHmac(HMACAlgorithm):
    """Takes a key as `secret_key` has prepared it: PyJWT would search it for PEM, DER and JWK on every token."""

    def prepare_key(self, key: str | bytes) -> bytes:
        assert isinstance(key, bytes)
        return key


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
