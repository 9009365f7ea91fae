"""Reaching the clients that are connected to this replica."""

from collections.abc import Collection
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import LogEvent
from server.domain.identity import SessionId
from server.domain.pushes import ChannelPush, Push
from server.domain.rings import EncodedEvent


class Transport(Protocol):
    """Writing to the connections of this replica.

    1. Nothing here awaits, except `settled` and `flushed`: each call has taken effect when it returns.
    2. Order: what is delivered and pushed to a session arrives in the order of the calls, or the connection ends.
    3. Bounded: a session that does not read is closed as slow, never waited for.
    4. A session that is gone is ignored everywhere.
    5. `flushed` waits until the session has taken most of what it was given, or is gone. A caller that gives a session
       much in several parts waits in between, so that promise 3 does not meet a session that is only slow.
    6. `settled` waits until everything that was delivered and pushed so far has left this process, as far as the
       sessions take it. A caller that delivers without end waits in between, so that no session has to hold more than
       a turn's events and other work gets a turn.
    7. Ephemeral: what is told to a channel is dropped, and counted, for a member that does not keep up.
    """

    def deliver(self, event: LogEvent) -> EncodedEvent:
        """Give the event to every session in its channel, and return it as it was encoded. Promises 1-4."""
        ...

    def tell(self, channel: ChannelName, push: ChannelPush, skip: Collection[SessionId] = ()) -> None:
        """Give something that is in no log to every session in the channel, except those in `skip`. Promises 1, 2, 4,
        7."""
        ...

    def push(self, session: SessionId, push: Push) -> None:
        """Give something to a session. Promises 1-4."""
        ...

    async def settled(self) -> None:
        """Let everything that was delivered go out. Promise 6."""
        ...

    async def flushed(self, session: SessionId) -> None:
        """Wait until the session has taken most of what it was given. Promise 5."""
        ...

    def terminate(self, session: SessionId, error: MaruError) -> None:
        """Tell the session why it ends (`session:terminated`), then close its connection so that the client does not
        come back. The caller has ended its memberships. Promises 1, 2, 4."""
        ...
