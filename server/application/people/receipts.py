"""Receipts: users are told how far others have read, and how far they have read on other devices."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from server.application.people.company import Company
from server.domain.channels import ChannelName
from server.domain.identity import SessionId, UserId
from server.domain.rules import Rules
from server.domain.signals import ReadUpdated
from server.ports.transport import Transport

TOLD_S = 1.0
"""A user's mark is told to the other members of a channel once in so many seconds, the last always."""

MAX_TOLD = 10_000
"""Marks that were told in the last `TOLD_S`. Over it further ones are not told: the next may be."""


@dataclass(slots=True)
class _Told:
    """A mark that others were told of."""

    due: float  # when they may be told of the next, on the loop's clock
    offset: int  # the mark: an older one may come later, from another replica
    next: ReadUpdated | None = None


class Receipts:
    """Passes marks on to the clients here. `origin` returns the session that has made a mark;
    `passed_over` counts a mark that is not told for lack of room."""

    def __init__(
        self,
        transport: Transport,
        company: Company,
        rules: Rules,
        origin: Callable[[ReadUpdated], SessionId | None],
        passed_over: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport = transport
        self._company = company
        self._rules = rules
        self._origin = origin
        self._told: dict[tuple[ChannelName, UserId], _Told] = {}  # those that are due first stand first
        self._timer: asyncio.TimerHandle | None = None  # runs while there are any
        self._passed_over = passed_over

    def heard(self, marked: ReadUpdated) -> None:
        """Take a signal: the user's other sessions are told at once, the other members at a pace."""
        origin = self._origin(marked)
        if self._company.is_empty(marked.channel):
            return
        for device in self._company.devices(marked.user, marked.channel):
            if device != origin:
                self._transport.push(device, marked)
        if not self._is_shown(marked.channel):
            return
        key = (marked.channel, marked.user)
        told = self._told.get(key)
        if told is None:
            self._tell(key, marked)
        elif marked.offset > (told.offset if told.next is None else told.next.offset):
            told.next = marked

    def _is_shown(self, channel: ChannelName) -> bool:
        return self._company.count(channel) <= self._rules.of(channel).receipts

    def _tell(self, key: tuple[ChannelName, UserId], marked: ReadUpdated) -> None:
        if len(self._told) >= MAX_TOLD:
            self._passed_over()
            return
        self._told[key] = _Told(asyncio.get_running_loop().time() + TOLD_S, marked.offset)
        self._schedule()
        self._transport.tell(marked.channel, marked, skip=self._company.devices(marked.user, marked.channel))

    def _look(self) -> None:
        """Tell the marks that have come meanwhile."""
        now = asyncio.get_running_loop().time()
        self._timer = None
        due = []
        for key, told in self._told.items():
            if told.due > now:
                break
            due.append(key)
        waiting = [(key, self._told.pop(key).next) for key in due]
        for key, marked in waiting:
            if marked is not None and self._is_shown(marked.channel):
                self._tell(key, marked)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._told:
            due = next(iter(self._told.values())).due
            self._timer = asyncio.get_running_loop().call_at(due, self._look)
