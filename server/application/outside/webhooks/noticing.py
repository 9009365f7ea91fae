"""Keeping notices for webhooks: behind whoever notices something, who waits for nothing."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from server.domain.drafts import Record
from server.domain.errors import MaruError
from server.domain.notices import MARU, Notice, notice_of, turned
from server.domain.presence import UserStatus
from server.ports.presence import Presence
from server.ports.records import Records

WAITING_LIMIT = 100_000
"""Notices that wait to be kept. Over it the first are dropped, and counted."""

AT_ONCE = 64
"""Notices that are kept together."""

RETRY_S = 0.5
"""Pause after a notice that could not be kept, at least."""


class Noticing:
    """Keeps notices in their order. `wanted` are the types that an endpoint is told; others are dropped at once.
    `new_key` makes a key that is never made again."""

    def __init__(
        self,
        records: Records,
        now_ms: Callable[[], int],
        new_key: Callable[[], str],
        *,
        wanted: frozenset[str],
        limit: int = WAITING_LIMIT,
    ) -> None:
        self.dropped = 0
        self._records, self._now_ms, self._new_key, self._wanted = records, now_ms, new_key, wanted
        self._waiting: deque[Notice] = deque(maxlen=limit)
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many notices wait to be kept."""
        return len(self._waiting)

    def keep(self, notice: Notice) -> None:
        """Keep a notice, soon."""
        if notice.name in self._wanted:
            self.dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(notice)
            self._arrived.set()

    def changed(self, status: UserStatus) -> None:
        """Tell that a user came online, or went offline."""
        self.keep(notice_of(status, self._new_key()))

    async def hear(self, presence: Presence) -> None:
        """Keep notices of channels that become occupied or vacated, until cancelled."""
        async for change in presence.turns():
            self.keep(turned(change))

    async def run(self) -> None:
        """Keep notices until cancelled."""
        while True:
            while self._waiting:
                taken = min(AT_ONCE, len(self._waiting))
                await self._keep([self._record(self._waiting.popleft()) for _ in range(taken)])
            self._arrived.clear()
            await self._arrived.wait()

    def _record(self, notice: Notice) -> Record:
        return Record(notice.log, notice.name, MARU, notice.data, notice.key, self._now_ms())

    async def _keep(self, records: Sequence[Record]) -> None:
        """Keep notices, however long it takes: by its key each is kept once."""
        while records:
            answers = await asyncio.gather(*map(self._attempt, records))
            records = [record for record, wait_s in zip(records, answers, strict=True) if wait_s]
            if records:
                await asyncio.sleep(max(answers))

    async def _attempt(self, record: Record) -> float:
        """Keep a notice; return how long to wait before the next try, 0 if it is kept."""
        try:
            await self._records.record(record)
        except MaruError as error:
            return max(RETRY_S, (error.retry_after_ms or 0) / 1_000)
        return 0.0
