"""Verify JSON Web Tokens (RFC 7519) in the compact form.

PyJWT's algorithms check the signature; the compact form and the claims are judged here, so that clock and leeway are
ours, JSON is strict, and each refusal has a text of its own that holds nothing of the token. `PyJWS`, which takes the
same tokens (a test holds the two together), looks at every character of them in Python.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from server.adapters.tokens.claims import (
    MAX_TOKEN_ID_CHARS,
    decode_base64url,
    grant_pattern,
    known_actions,
    numeric_date,
    optional_text,
    user_id,
)
from server.adapters.tokens.keys import ALGORITHMS, Key
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import MAX_NAME_CHARS, Grants, Identity
from server.ports.token_verifier import TokenVerifier

MAX_TOKEN_CHARS = 16 * 1024
"""More is not parsed; the same bound stands on the wire."""

MAX_GRANTS = 1_000
"""Patterns in one token: each `authorize` looks at all of them."""

HEADERS_REMEMBERED = 64
"""Headers of tokens that have been judged: an issuer writes the same one into every token."""

TOKENS_REMEMBERED = 16_384
"""Tokens whose signature has been checked, by their hash: after a deploy everybody comes back with the one they had."""

REMEMBERED_CHARS = 8 * 1024 * 1024
"""Of those tokens together: what is kept of one grows with its grants."""

_SEGMENT = rb"([A-Za-z0-9_-]*={0,2})"

_COMPACT = re.compile(_SEGMENT + rb"\." + _SEGMENT + rb"\." + _SEGMENT)  # RFC 7515, section 7.1


class _Verified(NamedTuple):
    """What a token says that was signed with the key. Times in seconds since the epoch."""

    identity: Identity
    not_before_s: float | None
    expires_s: float
    chars: int


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
        self._algorithm = ALGORITHMS[key.algorithm]
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
        expires_s = numeric_date(claims, "exp")
        if expires_s is None:
            raise Unauthenticated("the token has no 'exp'")
        identity = Identity(
            user=user_id(claims.get("sub")),
            name=optional_text(claims, "name", MAX_NAME_CHARS),
            grants=self._grants(claims),
            expires_at=int(expires_s * 1_000),
            token_id=optional_text(claims, "jti", MAX_TOKEN_ID_CHARS),
        )
        return _Verified(identity, numeric_date(claims, "nbf"), expires_s, len(token))

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
            payload, signature = decode_base64url(found[2]), decode_base64url(found[3])
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
        header = orjson.loads(decode_base64url(written))
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
        return {grant_pattern(pattern): known_actions(actions) for pattern, actions in channels.items()}
