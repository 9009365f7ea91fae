"""Entries that orders have brought lately. A store that comes back older than its replicas may lack them."""

from collections.abc import Callable
from typing import TypeVar

from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.identity import UserId
from server.ports.revocations import ENTRIES_LIMIT, Held

RECENT_MS = 3_600_000
"""How long an entry is recent. Stores lose seconds, but may be away for long before they come back."""

K = TypeVar("K")
V = TypeVar("V")


class Recent:
    """Changes of entries in the last `RECENT_MS`, the last `limit` of each kind. `now_ms` is wall-clock time in
    milliseconds."""

    def __init__(self, now_ms: Callable[[], int], limit: int = ENTRIES_LIMIT) -> None:
        self._now_ms = now_ms
        self._limit = limit  # many that expire soon, or only end denials, may come in an hour
        self._revocations: dict[str, tuple[Revocation, int]] = {}  # by id, with the time at which it was heard of
        self._denials: dict[tuple[UserId, ChannelName], tuple[Denial, int]] = {}

    def revoked(self, revocation: Revocation) -> None:
        """Note a revocation."""
        _keep(self._revocations, revocation.id, (revocation, self._now_ms()), self._limit)

    def lifted(self, id: str) -> None:
        """Note that a revocation was lifted."""
        self._revocations.pop(id, None)

    def denied(self, denial: Denial) -> None:
        """Note a denial, or its end."""
        _keep(self._denials, (denial.user, denial.channel), (denial, self._now_ms()), self._limit)

    def sweep(self) -> None:
        """Forget what is not recent any more."""
        since = self._now_ms() - RECENT_MS
        self._revocations = {id: noted for id, noted in self._revocations.items() if noted[1] > since}
        self._denials = {key: noted for key, noted in self._denials.items() if noted[1] > since}

    def missing(self, held: Held) -> Held:
        """Return the entries that the store lacks, or has otherwise. A denial that has expired is to be ended."""
        self.sweep()
        now = self._now_ms()
        ids = {revocation.id for revocation in held.revocations}
        until = {(denial.user, denial.channel): denial.expires_at for denial in held.denials}
        return Held(
            [each for id, (each, _) in self._revocations.items() if id not in ids and each.expires_at > now],
            [
                each
                for key, (each, _) in self._denials.items()
                if until.get(key, 0) != (each.expires_at if each.expires_at > now else 0)
            ],
        )


def _keep(entries: dict[K, V], key: K, entry: V, limit: int) -> None:
    """Put an entry behind the others; beyond the limit the oldest goes."""
    entries.pop(key, None)
    entries[key] = entry
    if len(entries) > limit:
        del entries[next(iter(entries))]
