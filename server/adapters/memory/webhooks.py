"""Webhooks in memory: debts live as long as the log."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import islice

from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt, Leads
from server.domain.errors import BadRequest
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import DEAD_LETTERS, LEAD_S, Webhooks


class MemoryWebhooks(Webhooks):
    """The debts of a log. `clock` is in seconds. No endpoint is forgotten: it lives no longer than its settings."""

    def __init__(
        self,
        log: MemoryMessageLog,
        clock: Callable[[], float] = time.monotonic,
        *,
        dead_letters: int = DEAD_LETTERS,
    ) -> None:
        self._log, self._clock, self._dead_letters = log, clock, dead_letters
        self._leads = Leads(LEAD_S)
        self._letters: dict[str, deque[DeadLetter]] = {}  # by endpoint, oldest first
        self._last = 0  # the last id of a letter

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        return self._log.debts.open(endpoint, patterns, self._log.all_debts(patterns) if from_start else {})

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        return self._leads.take(endpoint, replica, self._clock())

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        self._leads.end(endpoint, replica)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        owed = self._owed(endpoint)
        page = [owed[name] for name in nsmallest(limit, (name for name in owed if after is None or name > after))]
        return page, page[-1].channel if len(page) == limit else None

    async def owed(self, endpoint: str) -> int:
        return len(self._owed(endpoint))

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        owed, head = self._owed(endpoint), self._log.head(channel)
        debt = owed.get(channel)
        if debt is None or debt.delivered != delivered:
            return False
        most = head.offset
        if delivered.epoch != head.epoch:
            most = max(debt.place(head).offset, self._log.floor(channel))
        if to.epoch != head.epoch or to.offset > most:
            return False
        if to == head:
            del owed[channel]
        else:
            owed[channel] = Debt(channel, to)
        return True

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        if not await self.deliver(endpoint, letter.channel, delivered, to):
            return False
        self._last += 1
        self._letters.setdefault(endpoint, deque(maxlen=self._dead_letters)).append(replace(letter, id=str(self._last)))
        return True

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        above = 0 if after is None else _number(after)
        return list(islice((each for each in self._letters.get(endpoint, ()) if int(each.id) > above), limit))

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        letters, wanted = self._letters.get(endpoint, deque()), frozenset(ids)
        taken = [letter for letter in letters if letter.id in wanted]
        for letter in taken:
            letters.remove(letter)
        return taken

    def _owed(self, endpoint: str) -> dict[ChannelName, Debt]:
        return self._log.debts.owed.get(endpoint, {})


def _number(id: str) -> int:
    if not (id.isascii() and id.isdecimal()):
        raise BadRequest("after: expected the id of a dead letter", details={"field": "after"})
    return int(id)
