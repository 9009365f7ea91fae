"""All entries that a replica heeds: revocations, denials, and those of them that it has heard of lately."""

from collections.abc import Callable

from server.application.outside.denials import Denials
from server.application.outside.recent import Recent
from server.application.outside.revoked_tokens import RevokedTokens
from server.application.turn import in_turns
from server.domain.control import Denial, Revocation
from server.ports.revocations import Held


class Entries:
    """The entries in memory. `now_ms` is wall-clock time in milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.revoked = RevokedTokens(now_ms)
        self.denials = Denials(now_ms)
        self._recent = Recent(now_ms)

    async def replace(self, held: Held, *, lost: bool = False) -> Held:
        """Heed the entries of the store in place of those in memory. Return recent entries that it lacks, which are
        heeded, too; if it has `lost` entries, all of those in memory that it lacks."""
        missing = self._recent.missing(held)
        if lost:
            missing = await self._all_missing(held, missing)
        await self.denials.replace((*held.denials, *missing.denials))
        await self.revoked.replace((*held.revocations, *missing.revocations))
        return missing

    async def _all_missing(self, held: Held, recent: Held) -> Held:
        """Add the older entries in memory that the store lacks to the recent."""
        ids = {each.id for each in (*held.revocations, *recent.revocations)}
        keys = {(each.user, each.channel) for each in (*held.denials, *recent.denials)}
        revocations = [each async for each in in_turns(self.revoked.all()) if each.id not in ids]
        denials = [
            Denial(channel, user, until)
            async for (user, channel), until in in_turns(tuple(self.denials.until.items()))
            if (user, channel) not in keys
        ]
        return Held((*recent.revocations, *revocations), (*recent.denials, *denials))

    def heeds(self, entry: Revocation | Denial) -> bool:
        """Say whether an entry is still in force, or the end of a denial is."""
        if isinstance(entry, Revocation):
            return entry.id in self.revoked
        until = entry.expires_at if entry.expires_at > self._now_ms() else 0
        return self.denials.until.get((entry.user, entry.channel), 0) == until

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
