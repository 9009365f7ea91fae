"""Ending connections of this replica, so that their clients come back."""

from collections.abc import Sequence
from typing import NewType, Protocol

from server.domain.identity import SessionId
from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining

ConnectionId = NewType("ConnectionId", str)
"""A WebSocket, with or without a session."""


class Connections(Protocol):
    """The connections of this replica, for a drain that ends them, or for a session that is to begin anew.

    1. After `shut` no connection is added.
    2. `notify` has taken effect when it returns; the notice comes behind everything that was pushed before.
    3. `end` loses nothing quietly. It reads nothing more of the client. Commands that have been read and parsed are
       done and answered before the close; if that takes more than half of the time, those that wait are dropped, and
       the other half is for the command in progress.
    4. `end` asks no client to stay away: each comes back by itself, here or to another replica.
    5. A connection that is gone is ignored everywhere.
    """

    def shut(self) -> Sequence[ConnectionId]:
        """Accept no more connections, close those without a session, and return the others. Promise 1."""
        ...

    def of(self, session: SessionId) -> ConnectionId | None:
        """Return the connection of a session; None if the session is gone."""
        ...

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        """Give a client the notice. Return False if it has no session (yet). Promise 2."""
        ...

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        """End a connection: answer its commands, for at most `answer_s`; then close it and wait for the client to go,
        for at most `close_s`; then cut it off. Return how it went. Promises 3 and 4."""
        ...

    async def gone(self, within_s: float) -> bool:
        """Wait until no connection is left, for at most `within_s`; return whether none is left."""
        ...

    def abort(self) -> Sequence[ConnectionId]:
        """Cut off every connection that is left, at once; return them, including those that `shut` has closed."""
        ...


class DrainMetrics(Protocol):
    """How a drain proceeds. The promises of `Metrics` hold."""

    def draining(self, active: bool) -> None:
        """A drain begins (its time is measured from here), or has ended. Repeating the call changes nothing."""
        ...

    def drain_notified(self, count: int = 1) -> None:
        """That many sessions were told that the server drains."""
        ...

    def drain_closed(self, how: DrainEnd, count: int = 1) -> None:
        """That many connections went during the drain."""
        ...
