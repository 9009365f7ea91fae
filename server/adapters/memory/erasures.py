"""Erasures of a single process. They are gone with it, and so is its log."""

from collections.abc import Sequence

from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, forgettable
from server.domain.errors import Overloaded
from server.domain.identity import UserId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures


class MemoryErasures(Erasures):
    """Keeps erasures of the messages of `log`, which has no index of authors: all channels are given."""

    def __init__(self, log: MemoryMessageLog, limit: int = ERASURES_LIMIT) -> None:
        self._log, self._limit = log, limit
        self._kept: dict[str, Erasure] = {}

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2."""
        if erasure.id in self._kept:
            return self._kept[erasure.id]
        for old in forgettable(await self.all(), erasure.began_at, KEPT_MS, self._limit):
            del self._kept[old.id]
        if len(self._kept) >= self._limit:
            raise Overloaded(f"{self._limit} erasures are under way; wait until some are done")
        self._kept[erasure.id] = erasure
        return erasure

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure. Promise 1."""
        return self._kept.get(id)

    async def all(self) -> Sequence[Erasure]:
        """Return all. Promise 1."""
        return sorted(self._kept.values(), key=lambda kept: (kept.began_at, kept.id))

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write if nobody else has. Promise 3."""
        if self._kept.get(old.id) != old:
            return False
        self._kept[old.id] = new
        return True

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Return all channels at once. Promise 4."""
        return self._log.names(), None
