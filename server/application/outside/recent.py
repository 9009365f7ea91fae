"""Entries that orders have brought lately. A store that comes back older than its replicas may lack them."""

from collections.abc import Callable

from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.identity import UserId
from server.ports.revocations import Held

RECENT_MS = 3_600_000
"""How long an entry is recent. Stores lose seconds, but may be away for long before they come back."""


class Recent:
    """Changes of entries in the last `RECENT_MS`. `now_ms` is wall-clock time in milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._revocations: dict[str, tuple[Revocation, int]] = {}  # by id, with the time at which it was heard of
        self._denials: dict[tuple[UserId, ChannelName], tuple[Denial, int]] = {}

    def revoked(self, revocation: Revocation) -> None:
        """Note a revocation."""
        self._revocations[revocation.id] = (revocation, self._now_ms())

    def lifted(self, id: str) -> None:
        """Note that a revocation was lifted."""
        self._revocations.pop(id, None)

    def denied(self, denial: Denial) -> None:
        """Note a denial, or its end."""
        self._denials[denial.user, denial.channel] = (denial, self._now_ms())

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
