"""A verifier that knows its tokens by heart."""

from server.domain.errors import Unauthenticated
from server.domain.identity import Identity
from server.ports.token_verifier import TokenVerifier
from tests.doubles.faulty_log import Pause, at_once


class KnownTokens(TokenVerifier):
    """Each token that was issued stands for its identity; any other is refused. `before` is awaited first."""

    def __init__(self) -> None:
        self.before: Pause = at_once
        self._identities: dict[str, Identity] = {}

    def issue(self, token: str, identity: Identity) -> str:
        """Make the token known; return it."""
        self._identities[token] = identity
        return token

    def verify_at_once(self, token: str) -> Identity | None:
        return self._known(token) if self.before is at_once else None

    async def verify(self, token: str) -> Identity:
        await self.before()
        return self._known(token)

    def _known(self, token: str) -> Identity:
        try:
            return self._identities[token]
        except KeyError:
            raise Unauthenticated("the token is not known") from None
