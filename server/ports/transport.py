"""Reaching the clients that are connected to this replica."""

from collections.abc import Collection
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import Event
from server.domain.identity import SessionId
from server.domain.pushes import Push


class Transport(Protocol):
    """The connections of this replica and the channels that they are in.

    1. Nothing here awaits (but see 5): each call has taken effect when it returns, so that a caller can change state
       and membership in one step.
    2. Order: what is delivered and pushed to one session arrives in the order of the calls, or the connection ends.
    3. Bounded: a session that does not read is closed as slow, never waited for.
    4. A session that is gone is ignored everywhere.
    5. But for `settled` and `flushed`. `flushed` waits until little of what the session has been given is still on its
       way, or it is gone: who gives much in several parts waits between them, so that promise 3 does not meet one that
       is only slow.
    6. `settled` waits until all that was delivered and pushed so far has left this process's hands, as far as the
       sessions take it: who delivers without end waits in between, so that no session has to keep more than a turn's
       events and everybody else gets a turn.
    """

    def deliver(self, event: Event) -> None:
        """Give the event to every session in its channel."""
        ...

    def push(self, session: SessionId, push: Push) -> None:
        """Give something to one session."""
        ...

    async def settled(self) -> None:
        """Let everything that was delivered go out. Promise 6."""
        ...

    async def flushed(self, session: SessionId) -> None:
        """Wait until the session has taken most of what it was given. Promise 5."""
        ...

    def enter(self, session: SessionId, channel: ChannelName) -> None:
        """Make the session a member of the channel."""
        ...

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """End the session's membership of the channel."""
        ...

    def channels(self, session: SessionId) -> Collection[ChannelName]:
        """The channels that the session is in."""
        ...

    def members(self, channel: ChannelName) -> Collection[SessionId]:
        """The sessions that are in the channel."""
        ...

    def terminate(self, session: SessionId, error: MaruError) -> None:
        """Tell the session why it ends (`session:terminated`), then end it so that the client does not come back."""
        ...
