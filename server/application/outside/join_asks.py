"""Asking a backend before joins: of a single channel, and of all those to which a session comes back."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from server.application.outside.asking import MAX_ASKS, Asking
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, PermissionDenied
from server.domain.hooks import Hook
from server.domain.identity import Identity, SessionId

RESUME_ASKS = MAX_ASKS // 2
"""Questions of sessions that resume, under way, of a replica. Further ones wait for their turn: after a deploy all
sessions come back at once."""

AHEAD = 8
"""Channels of a session that are asked about together."""

AWAY_S = 1.0
"""Time that the questions of a resume wait for no verdict, all together; then no more are asked: 500 waits would be
minutes."""


class JoinAsks:
    """Asks before joins, for all sessions of a replica."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._room = asyncio.Semaphore(RESUME_ASKS)
        self.accepted = asking.accepted

    def asks(self, channel: ChannelName) -> bool:
        """Say whether the backend is asked before a join."""
        return self._asking.asks(Hook.JOIN, channel)

    async def before_join(self, session: SessionId, identity: Identity, channel: ChannelName) -> None:
        """Ask before a join. Raises as `Asking.before_join`."""
        await self._asking.before_join(session, identity, channel)

    async def refused(
        self,
        session: SessionId,
        identity: Identity,
        channels: Iterable[ChannelName],
        present: Callable[[], bool],
    ) -> dict[ChannelName, MaruError]:
        """Ask about channels that the grants allow. Return those that the session may not enter, with the reasons. Ends
        early once the session is no longer `present`."""
        resume = _Resume(session, identity, deque(channels), present)
        await asyncio.gather(*(self._work(resume) for _ in range(min(AHEAD, len(resume.left)))))
        return resume.refused

    async def _work(self, resume: "_Resume") -> None:
        while resume.left:
            async with self._room:
                if not resume.left or not resume.present():
                    return
                channel = resume.left.popleft()
                try:
                    if resume.lost_s >= AWAY_S:
                        self._asking.leave_out(channel)
                    else:
                        await self._ask(resume, channel)
                except MaruError as error:
                    resume.refused[channel] = error

    async def _ask(self, resume: "_Resume", channel: ChannelName) -> None:
        began, lost = self._asking.clock(), True
        try:
            lost = not await self._asking.before_join(resume.session, resume.identity, channel)
        except PermissionDenied:
            lost = False
            raise
        finally:
            if lost:
                resume.lost_s += self._asking.clock() - began


@dataclass(slots=True)
class _Resume:
    """The questions of a session's resume."""

    session: SessionId
    identity: Identity
    left: deque[ChannelName]  # to be asked about
    present: Callable[[], bool]
    lost_s: float = 0.0  # spent on questions without a verdict
    refused: dict[ChannelName, MaruError] = field(default_factory=dict)
