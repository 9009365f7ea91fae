"""Which sessions of this replica are in which channels."""

from collections.abc import Collection
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.identity import SessionId


class Membership(Protocol):
    """The members of each channel on this replica.

    1. Nothing here awaits: each call has taken effect when it returns, so that a caller can change its own state and
       the membership in a single step.
    2. Order: an event that was delivered before `enter` does not reach the session; an event that was delivered before
       `leave` or `end` does.
    3. A session that is gone is ignored: it enters nothing, and leaving is no error.
    """

    def enter(self, session: SessionId, channel: ChannelName) -> None:
        """Make the session a member of the channel. Promises 1-3."""
        ...

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """End the session's membership of the channel. Promises 1-3."""
        ...

    def end(self, session: SessionId) -> Collection[ChannelName]:
        """End all memberships of the session; return the channels that it was in. Promises 1-3."""
        ...

    def present(self, session: SessionId) -> bool:
        """Whether the session's client is still there, so that work for it is not in vain."""
        ...

    def channels(self, session: SessionId) -> Collection[ChannelName]:
        """The channels that the session is in."""
        ...

    def count(self, channel: ChannelName) -> int:
        """How many sessions are in the channel."""
        ...

    def members(self, channel: ChannelName) -> Collection[SessionId]:
        """The sessions that are in the channel."""
        ...
