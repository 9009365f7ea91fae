"""Arriving: a channel is hosted, its missed events are collected, and what its user has not read is counted, all as of
one position."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from server.application.channels.catching_up import CatchingUp
from server.application.channels.hosting import HostedChannel
from server.application.channels.hub import Hub
from server.application.channels.resuming import Joined
from server.application.people.unread import Unread
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unauthenticated
from server.domain.identity import SessionId, UserId
from server.domain.marks import Mark
from server.domain.messages import Position
from server.ports.membership import Membership

ROUNDS = 16
"""Times that a mark and a position are brought together. Nearly always the first is enough; in a channel where the user
sends and messages are deleted hundreds of times a second, a join in five hundred needs more than eight."""

HINT_S = 0.002
"""A hint at an event that the mark counts already comes in about this time."""


class Arriving:
    """Does what has to be waited for before a session enters a channel. `unread` counts; None: nothing is counted."""

    def __init__(self, hub: Hub, catching_up: CatchingUp, membership: Membership, unread: Unread | None) -> None:
        self._hub = hub
        self._catching_up = catching_up
        self._membership = membership
        self._unread = unread

    async def arrive(  # who arrives where, and from which position
        self,
        session: SessionId,
        user: UserId,
        channel: ChannelName,
        since: Position | None,
        history: int,
        mark: Mark | None = None,
    ) -> Joined:
        """Return what the session is to be answered. No await stands between the last look at the channel's position
        and returning. `mark`: the user's, read a moment ago. Raises `Unauthenticated` if the session has ended,
        `Unavailable`, `Overloaded`."""
        rounds = 0
        while rounds < ROUNDS:
            if mark is None and self._unread is not None:
                # At the same time: one after the other takes too many turns of a loop that is busy.
                hosted, mark = await _both(self._hub.host(channel, since), self._unread.mark(user, channel))
            else:
                hosted = await self._hub.host(channel, since)
            self.check_present(session)
            joined = await self._catching_up.catch_up(hosted, since, history)
            self.check_present(session)
            if hosted.released:
                continue
            if self._unread is None or mark is None:
                return joined
            counted = self._unread.at(mark, user, hosted.ring, joined.position)
            if counted is not None:
                return Joined(joined.position, joined.reason, joined.events, counted)
            rounds += 1
            if await self._reach(hosted, mark.head):
                mark = None  # the position is later, or the log is another: the mark is out of date
        raise Overloaded(f"'{channel}' moves faster than what is unread can be counted")

    def check_present(self, session: SessionId) -> None:
        """Raise `Unauthenticated` if the session has ended during an await."""
        if not self._membership.present(session):
            raise Unauthenticated("the session has ended; connect again")

    async def _reach(self, hosted: HostedChannel, head: Position) -> bool:
        """Wait until the channel is at the head that a mark was read at. Return False if it was not yet, so that the
        mark may be right now."""
        if hosted.position.epoch == head.epoch and hosted.position.offset > head.offset:
            return True
        await asyncio.sleep(HINT_S)
        if hosted.position.epoch == head.epoch and hosted.position.offset >= head.offset:
            return False
        await self._hub.refresh(hosted)
        return hosted.position.epoch != head.epoch


async def _both(hosting: Awaitable[HostedChannel], reading: Coroutine[Any, Any, Mark]) -> tuple[HostedChannel, Mark]:
    """Wait for both. If hosting fails, the reading is given up."""
    mark = asyncio.ensure_future(reading)
    try:
        return await hosting, await mark
    finally:
        mark.cancel()
