"""Pace: much is delivered to a channel in parts, and its members are waited for in between."""

import asyncio

from server.application.turn import Turn
from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.ports.membership import Membership
from server.ports.transport import Transport

PACE_S = 0.5
"""The longest wait for the members after a part. A member that takes longer is not waited for again: the others go on,
and it is closed as slow if it does not catch up."""


class Pace:
    """The waits of one delivery to the members of a channel."""

    def __init__(self, transport: Transport, membership: Membership, channel: ChannelName) -> None:
        self._transport = transport
        self._membership = membership
        self._channel = channel
        self._slow: set[SessionId | None] = set()  # members that took too long; None: all of them together

    async def keep(self) -> None:
        """Wait until the members have taken most of what they were given, at most `PACE_S`."""
        turn = Turn()
        waited_for: SessionId | None = None
        try:
            async with asyncio.timeout(PACE_S):
                await self._transport.settled()
                for session in self._membership.members(self._channel):
                    if session not in self._slow:
                        waited_for = session
                        await self._transport.flushed(session)
                    if turn.over():
                        await turn.pass_on()  # tens of thousands of members that need no wait are work, too
        except TimeoutError:
            self._slow.add(waited_for)
