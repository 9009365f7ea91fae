"""Returning: members of a channel whose log was lost sight of enter it anew, and are told what is unread."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from server.application.channels.subscriptions import Subscriptions
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.domain.messages import Position
from server.ports.membership import Membership

AT_ONCE = 64
"""Members that enter together."""


class Returning:
    """Takes the members out of the channel without a word, and lets each resume it from the position that they were at.
    `find` returns an open session; `spawn` makes a task that somebody waits for."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        membership: Membership,
        find: Callable[[SessionId], Session | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._subscriptions = subscriptions
        self._membership = membership
        self._find = find
        self._spawn = spawn

    def restarted(self, channel: ChannelName, position: Position) -> None:
        """Begin, in the step in which the channel goes on from another position than its members are at."""
        members = tuple(self._membership.members(channel))
        for session in members:
            self._membership.leave(session, channel)
        self._spawn(self._return(channel, position, members))

    async def _return(self, channel: ChannelName, position: Position, members: Sequence[SessionId]) -> None:
        for start in range(0, len(members), AT_ONCE):
            found = [self._find(member) for member in members[start : start + AT_ONCE]]
            await asyncio.gather(
                *[
                    self._subscriptions.come_back(session.id, session.identity, channel, position)
                    for session in found
                    if session is not None and not session.ended
                ]
            )
