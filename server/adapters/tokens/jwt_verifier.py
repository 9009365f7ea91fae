"""Verify JSON Web Tokens (RFC 7519) in the compact form.

PyJWT's algorithms check the signatures of public keys. This package parses the compact form and the claims itself, so
that it decides on clock and leeway, JSON is strict, and each refusal has a text of its own that holds nothing of the
token.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from server.adapters.tokens import compact
from server.adapters.tokens.claims import (
    display_name,
    grant_pattern,
    known_actions,
    numeric_date,
    optional_text,
    tier,
    user_id,
)
from server.adapters.tokens.compact import MALFORMED
from server.adapters.tokens.key_source import KeySource
from server.adapters.tokens.keys import SIGNATURE_CHECKS, Key
from server.adapters.tokens.remembered import Remembered, Verified
from server.domain.errors import TokenExpired, Unauthenticated
from server.domain.identity import Action, CompiledGrants, Grants, Identity
from server.domain.limits import MAX_TOKEN_CHARS, MAX_TOKEN_ID_CHARS
from server.ports.metrics import SILENT
from server.ports.token_verifier import TokenMetrics, TokenVerifier

MAX_GRANTS = 1_000
"""Bound of the patterns in a token: they are kept as long as its session."""

MAX_SHARED_GRANTS = 256
SHARED_PATTERNS = 16
"""Bounds of the grants that are kept to be shared: issuers write the same few patterns into the tokens of many."""


class JwtVerifier(TokenVerifier):
    """Verifies tokens that are signed with one of the keys of a source.

    If `issuer` is set, a token must name it; the same holds for `audience`. If no audience is set, a token that has one
    is refused (RFC 7519, section 4.1.3). A token without the claim `channels` has `default_grants`; an empty claim
    grants nothing. Unknown actions are ignored, so that tokens for a newer version work. `leeway_s` allows for clocks
    that differ, in `exp` and `nbf`; `now_s` is wall-clock time in seconds. With a `max_lifetime_s` over zero, a token
    must say when it was issued, and live no longer.
    """

    def __init__(  # noqa: PLR0913  # a value for each demand on a token
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway_s: float = 5.0,
        default_grants: Grants | None = None,
        max_lifetime_s: float = 0.0,
        now_s: Callable[[], float] = time.time,
        metrics: TokenMetrics = SILENT,
    ) -> None:
        self._keys = keys
        self._issuer = issuer  # the claim `iss` that a token must have; None: any
        self._audience = audience  # the name that a token's `aud` must hold; None: a token must have no `aud`
        self._leeway_s = leeway_s  # added to `exp` and subtracted from `nbf`
        # Of a token without the claim `channels`.
        self._default_grants: Final = CompiledGrants(default_grants or {})
        self._max_lifetime_s = max_lifetime_s  # from `iat` to `exp`, at most; 0: any
        self._now_s = now_s  # the clock
        self._metrics = metrics
        self._remembered = Remembered()

    def verify_at_once(self, token: str) -> Identity | None:
        """Return the identity that the token grants; None if its key has to be asked for.

        Raises `Unauthenticated`, `TokenExpired` or `Unavailable`. Takes about 30 µs of CPU with HS256, so it needs no
        thread. Of a token that is remembered, the key and the times are checked.
        """
        return self._verify(token, asked=False)

    async def verify(self, token: str) -> Identity:
        """As `verify_at_once`, and ask for the key if it has to be asked for."""
        identity = self._verify(token, asked=False)
        if identity is None:
            await self._keys.ask()
            identity = self._verify(token, asked=True)
            assert identity is not None  # promised by `find` after `ask`
        return identity

    def forget(self) -> None:
        """Forget which tokens were good: each is verified anew."""
        self._remembered.clear()

    def _verify(self, token: str, *, asked: bool) -> Identity | None:
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            raise Unauthenticated(MALFORMED)
        written, now_s = token.encode(), self._now_s()
        digest = hashlib.sha256(written).digest()
        verified = self._remembered.find(digest)
        if verified is not None and not self._keys.holds(verified.key, now_s):
            self._remembered.discard(digest)
            verified = None
        if verified is not None:
            self._check_times(verified, now_s)
        else:
            verified = self._verify_new(written, now_s, asked=asked)
            if verified is None:
                return None
            self._check_times(verified, now_s)
            self._remembered.add(digest, verified)
        self._metrics.token_verified(verified.key.origin)
        return verified.identity

    def _verify_new(self, token: bytes, now_s: float, *, asked: bool) -> Verified | None:
        signed = compact.read(token)
        # Raised outside of any `except`, so that no library's error, which may quote the token, is chained to it.
        if isinstance(signed, str):
            raise Unauthenticated(signed)
        keys = self._keys.find(signed.header.key_id, now_s, asked=asked)
        if keys is None:
            return None
        key = _signer(signed, keys)
        claims, fault = _claims(signed.payload)
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
            key_id=key.id,
        )
        return Verified(identity, key, numeric_date(claims, "nbf"), expires_s, len(token))

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

    def _check_times(self, verified: Verified, now_s: float) -> None:
        if verified.not_before_s is not None and now_s + self._leeway_s < verified.not_before_s:
            raise Unauthenticated("the token is not valid yet ('nbf')")
        if now_s >= verified.expires_s + self._leeway_s:
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


def _signer(signed: compact.Signed, keys: Sequence[Key]) -> Key:
    """Return the key that has signed a token (RFC 7515, section 5.2). Raises `Unauthenticated`."""
    header, text, _, signature = signed
    fitting = [key for key in keys if key.algorithm == header.algorithm]
    if not fitting:
        expected = " or ".join(dict.fromkeys(key.algorithm for key in keys))
        raise Unauthenticated(f"the token's algorithm is not allowed; expected {expected}")
    for key in fitting:
        if _matches(key, text, signature):
            return key
    raise Unauthenticated("the token's signature does not match")


def _matches(key: Key, text: bytes, signature: bytes) -> bool:
    try:
        return SIGNATURE_CHECKS[key.algorithm](text, key.material, signature)
    except ValueError:  # of a signature that is none of the algorithm's
        return False


def _claims(payload: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the claims, or None and the reason to refuse."""
    try:
        claims = orjson.loads(payload)
    except (ValueError, RecursionError):
        return None, MALFORMED
    return (claims, "") if isinstance(claims, dict) else (None, "the token's claims are no JSON object")


@lru_cache(maxsize=MAX_SHARED_GRANTS)
def _shared_grants(grants: tuple[tuple[str, frozenset[Action]], ...]) -> CompiledGrants:
    """Compile grants once for all tokens that have the same."""
    return CompiledGrants(dict(grants))
