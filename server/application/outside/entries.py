"""All entries that a replica heeds: revocations, denials, and those of them that it has heard of lately."""

from collections.abc import Callable

from server.application.outside.denials import Denials
from server.application.outside.recent import Recent
from server.application.outside.revoked_tokens import RevokedTokens
from server.domain.control import Denial, Revocation
from server.ports.revocations import Held


class Entries:
    """The entries in memory. `now_ms` is wall-clock time in milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.revoked = RevokedTokens(now_ms)
        self.denials = Denials(now_ms)
        self._recent = Recent(now_ms)

    async def replace(self, held: Held) -> Held:
        """Heed the entries of the store in place of those in memory. Return recent entries that it lacks, which are
        heeded, too."""
        missing = self._recent.missing(held)
        await self.denials.replace((*held.denials, *missing.denials))
        await self.revoked.replace((*held.revocations, *missing.revocations))
        return missing

    def revoke(self, revocation: Revocation) -> None:
        """Heed a revocation, of which an order tells."""
        self._recent.revoked(revocation)
        self.revoked.add(revocation)

    def lift(self, id: str) -> None:
        """Heed a revocation no longer."""
        self._recent.lifted(id)
        self.revoked.lift(id)

    def deny(self, denial: Denial) -> None:
        """Heed a denial, or its end, of which an order tells."""
        self._recent.denied(denial)
        self.denials.apply(denial)

    def sweep(self) -> None:
        """Forget the entries that have expired."""
        self.revoked.sweep()
        self.denials.sweep()
        self._recent.sweep()
