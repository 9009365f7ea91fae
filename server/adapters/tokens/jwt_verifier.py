"""Verify JSON Web Tokens (RFC 7519) in the compact form.

PyJWT's algorithms check the signatures of public keys. This package parses the compact form and the claims itself, so
that it decides on clock and leeway, JSON is strict, and each refusal has a text of its own that holds nothing of the
token. `PyJWS` accepts the same tokens (a test compares the two), but looks at each of their characters in Python.
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
    display_name,
    grant_pattern,
    known_actions,
    numeric_date,
    optional_text,
    tier,
    user_id,
)
from server.adapters.tokens.keys import SIGNATURE_CHECKS, Key
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import Action, CompiledGrants, Grants, Identity
from server.domain.limits import MAX_TOKEN_CHARS
from server.ports.token_verifier import TokenVerifier

MAX_GRANTS = 1_000
"""Bound of the patterns in a token: they are kept as long as its session."""

MAX_SHARED_GRANTS = 256
SHARED_PATTERNS = 16
"""Bounds of the grants that are kept to be shared: issuers write the same few patterns into the tokens of many."""

MAX_CACHED_HEADERS = 64
"""Bound of the headers whose check is cached: an issuer writes the same header into every token."""

MAX_CACHED_TOKENS = 16_384
"""Bound of the tokens whose check is cached, by their hash: after a deploy every client returns with the same token."""

MAX_CACHED_CHARS = 8 * 1024 * 1024
"""Bound of the cached tokens' lengths together: the memory for a token grows with its grants."""

_SEGMENT = rb"([A-Za-z0-9_-]*={0,2})"

_COMPACT = re.compile(_SEGMENT + rb"\." + _SEGMENT + rb"\." + _SEGMENT)  # RFC 7515, section 7.1
_MALFORMED = "the token is malformed"
_BEARER = b"bearer "


class _Verified(NamedTuple):
    """A token whose signature and claims are good. Its times, in seconds since the epoch, are checked at each use."""

    identity: Identity
    not_before_s: float | None
    expires_s: float
    chars: int  # length of the token


class JwtVerifier(TokenVerifier):
    """Verifies tokens signed with the same key.

    If `issuer` is set, a token must name it; the same holds for `audience`. If no audience is set, a token that has one
    is refused (RFC 7519, section 4.1.3). A token without the claim `channels` has `default_grants`; an empty claim
    grants nothing. Unknown actions are ignored, so that tokens for a newer version work. `leeway_s` allows for clocks
    that differ, in `exp` and `nbf`; `now_s` is wall-clock time in seconds. With a `max_lifetime_s` over zero, a token
    must say when it was issued, and live no longer.
    """

    def __init__(
        self,
        key: Key,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway_s: float = 5.0,
        default_grants: Grants | None = None,
        max_lifetime_s: float = 0.0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._key = key  # fixed for the life of the process, as the caches require
        self._issuer = issuer  # the claim `iss` that a token must have; None: any
        self._audience = audience  # the name that a token's `aud` must hold; None: a token must have no `aud`
        self._leeway_s = leeway_s  # added to `exp` and subtracted from `nbf`
        # Of a token without the claim `channels`.
        self._default_grants: Final = CompiledGrants(default_grants or {})
        self._max_lifetime_s = max_lifetime_s  # from `iat` to `exp`, at most; 0: any
        self._now_s = now_s  # the clock
        self._signature_matches = SIGNATURE_CHECKS[key.algorithm]
        self._header_fault = lru_cache(maxsize=MAX_CACHED_HEADERS)(self._check_header)
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()  # by the token's hash, the oldest first
        self._cached_chars = 0  # lengths of the tokens in the cache, added up

    async def verify(self, token: str) -> Identity:
        """As `verify_at_once`."""
        return self.verify_at_once(token)

    def verify_at_once(self, token: str) -> Identity:
        """Return the identity that the token grants. Raises `Unauthenticated` or `TokenExpired`.

        Takes about 30 µs of CPU with HS256, so it needs no thread. Of a token in the cache only the times are checked.
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            raise Unauthenticated(_MALFORMED)
        written = token.encode()
        digest = hashlib.sha256(written).digest()
        verified = self._cache.get(digest)
        if verified is None:
            verified = self._verify_new(written)
            self._check_times(verified)
            self._remember(digest, verified)
        else:
            self._check_times(verified)
        return verified.identity

    def _verify_new(self, token: bytes) -> _Verified:
        claims, fault = self._decode(token)
        # Raised outside of any `except`, so that no library's error, which may quote the token, is chained to it.
        if claims is None:
            raise Unauthenticated(fault)
        self._check_origin(claims)
        expires_s = numeric_date(claims, "exp")
        if expires_s is None:
            raise Unauthenticated("the token has no 'exp'")
        issued_s = numeric_date(claims, "iat")
        self._check_lifetime(issued_s, expires_s)
        identity = Identity(
            user=user_id(claims.get("sub")),
            name=display_name(claims),
            grants=self._grants(claims),
            expires_at=int(expires_s * 1_000),
            token_id=optional_text(claims, "jti", MAX_TOKEN_ID_CHARS),
            tier=tier(claims),
            issued_at=None if issued_s is None else int(issued_s),
        )
        return _Verified(identity, numeric_date(claims, "nbf"), expires_s, len(token))

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        """Put a verified token into the cache, and drop the oldest over its bounds. The token's text is not kept."""
        self._cache[digest] = verified
        self._cached_chars += verified.chars
        while len(self._cache) > MAX_CACHED_TOKENS or self._cached_chars > MAX_CACHED_CHARS:
            self._cached_chars -= self._cache.popitem(last=False)[1].chars

    def _decode(self, token: bytes) -> tuple[dict[str, Any] | None, str]:
        """Check the signature (RFC 7515, section 5.2). Return the claims, or None and the reason to refuse."""
        found = _COMPACT.fullmatch(token)
        if found is None:
            bearer = token[: len(_BEARER)].lower() == _BEARER
            return None, f'{_MALFORMED}: send it without "Bearer "' if bearer else _MALFORMED
        try:
            if (fault := self._header_fault(found[1])) is not None:
                return None, fault
            payload, signature = decode_base64url(found[2]), decode_base64url(found[3])
            if not self._signature_matches(token[: found.end(2)], self._key.material, signature):
                return None, "the token's signature does not match"
            claims = orjson.loads(payload)
        except (ValueError, RecursionError):
            return None, _MALFORMED
        if not isinstance(claims, dict):
            return None, "the token's claims are no JSON object"
        return claims, ""

    def _check_header(self, written: bytes) -> str | None:
        """Return the reason to refuse a header; None if it is good. Raises `ValueError` if it is no JSON."""
        header = orjson.loads(decode_base64url(written))
        if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
            return _MALFORMED
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

    def _check_lifetime(self, issued_s: float | None, expires_s: float) -> None:
        limit_s = self._max_lifetime_s
        if not limit_s:
            return
        if issued_s is None:
            raise Unauthenticated("the token has no 'iat', and this server bounds the time from 'iat' to 'exp'")
        if expires_s - issued_s > limit_s:
            raise Unauthenticated(f"the token lives longer than the bound of {limit_s:.15g} s from 'iat' to 'exp'")

    def _check_times(self, verified: _Verified) -> None:
        now = self._now_s()
        if verified.not_before_s is not None and now + self._leeway_s < verified.not_before_s:
            raise Unauthenticated("the token is not valid yet ('nbf')")
        if now >= verified.expires_s + self._leeway_s:
            raise TokenExpired("the token has expired")

    def _grants(self, claims: Mapping[str, Any]) -> CompiledGrants:
        channels = claims.get("channels")
        if channels is None:
            return self._default_grants
        if not isinstance(channels, dict):
            raise Unauthenticated("the token's 'channels' is no JSON object")
        if len(channels) > MAX_GRANTS:
            raise Unauthenticated(f"the token's 'channels' has more than {MAX_GRANTS} patterns")
        grants = tuple([(grant_pattern(pattern), known_actions(actions)) for pattern, actions in channels.items()])
        return _shared_grants(grants) if len(grants) <= SHARED_PATTERNS else CompiledGrants(dict(grants))


@lru_cache(maxsize=MAX_SHARED_GRANTS)
def _shared_grants(grants: tuple[tuple[str, frozenset[Action]], ...]) -> CompiledGrants:
    """Compile grants once for all tokens that have the same."""
    return CompiledGrants(dict(grants))
