"""Turning a bearer token into an identity."""

from typing import Protocol

from server.domain.identity import Identity


class TokenVerifier(Protocol):
    """Verifies tokens.

    1. Only a token with a valid signature of an allowed algorithm, an unexpired `exp`, a `sub`, and the configured
       `iss` and `aud` gives an identity; otherwise `Unauthenticated` or its subclass `TokenExpired`.
    2. No error text holds any part of the token.
    """

    def verify_at_once(self, token: str) -> Identity | None:
        """As `verify`, without waiting; None if the answer would have to be waited for. Promises 1, 2."""
        return None

    async def verify(self, token: str) -> Identity:
        """Return the identity that the token stands for. Promises 1, 2."""
        ...
