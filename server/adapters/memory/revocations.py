"""Revocations and denials within a single process."""

from collections.abc import Callable

from server.adapters.clock import now_ms
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded
from server.domain.identity import UserId
from server.ports.revocations import ENTRIES_LIMIT, Held, Revocations


class MemoryRevocations(Revocations):
    """Keeps the entries in this process, until it ends. `now_ms` is wall-clock time in milliseconds."""

    def __init__(self, now_ms: Callable[[], int] = now_ms, limit: int = ENTRIES_LIMIT) -> None:
        self._now_ms = now_ms
        self._limit = limit  # of each kind
        self._revocations: dict[str, Revocation] = {}  # by id
        self._denials: dict[tuple[UserId, ChannelName], Denial] = {}

    async def add(self, revocation: Revocation) -> None:
        if revocation.id not in self._revocations and len(self._revocations) >= self._limit:
            self._sweep()
            if len(self._revocations) >= self._limit:
                raise too_many(self._limit)
        self._revocations[revocation.id] = revocation

    async def remove(self, id: str) -> bool:
        revocation = self._revocations.pop(id, None)
        return revocation is not None and revocation.expires_at > self._now_ms()

    async def deny(self, denial: Denial) -> None:
        key = (denial.user, denial.channel)
        self._denials.pop(key, None)
        if denial.expires_at <= self._now_ms():
            return
        if len(self._denials) >= self._limit:
            self._sweep()
            if len(self._denials) >= self._limit:
                raise too_many(self._limit)
        self._denials[key] = denial

    async def load(self) -> Held:
        self._sweep()
        return Held(tuple(self._revocations.values()), tuple(self._denials.values()))

    def _sweep(self) -> None:
        """Forget the entries that have expired."""
        now = self._now_ms()
        self._revocations = {id: each for id, each in self._revocations.items() if each.expires_at > now}
        self._denials = {key: each for key, each in self._denials.items() if each.expires_at > now}


def too_many(limit: int) -> Overloaded:
    """The refusal of an entry for which there is no room."""
    return Overloaded(f"{limit} entries are held; lift some, or wait until some have expired")
