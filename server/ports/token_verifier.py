"""Turning a bearer token into an identity."""

from typing import Protocol

from server.domain.identity import Identity
from server.domain.outcomes import JwksFetch, KeyOrigin


class TokenVerifier(Protocol):
    """Verifies tokens.

    1. Only a token with a valid signature of an allowed algorithm, an unexpired `exp`, a `sub`, and the configured
       `iss` and `aud` gives an identity; otherwise `Unauthenticated` or its subclass `TokenExpired`.
    2. No error text holds any part of the token.
    3. A token that was good before is judged again: its key, `exp` and `nbf`. Whether it is revoked, the caller judges.
    """

    def verify_at_once(self, token: str) -> Identity | None:
        """As `verify`, without waiting; None if the answer would have to be waited for. Promises 1 to 3."""
        return None

    async def verify(self, token: str) -> Identity:
        """Return the identity that the token stands for. Promises 1 to 3."""
        ...


class TokenMetrics(Protocol):
    """How tokens are judged. The promises of `Metrics` hold."""

    def token_verified(self, origin: KeyOrigin) -> None:
        """A token was found good, for the first time or again."""
        ...

    def jwks_fetched(self, outcome: JwksFetch) -> None:
        """The issuer was asked for its keys."""
        ...
