"""Ending the connections of this replica."""

from collections.abc import Sequence
from typing import NewType, Protocol

from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining

ConnectionId = NewType("ConnectionId", str)
"""One WebSocket, with or without a session."""


class Connections(Protocol):
    """The connections of this replica, as whoever ends them sees them.

    1. After `shut` no connection is added.
    2. `notify` has taken effect when it returns, and what it tells comes behind all that was pushed before.
    3. `end` loses nothing quietly: nothing more is read of a client; what has been read is done and answered before its
       close; where that takes more than half of the time, the rest is not done, and the other half is for the answer to
       the one that is being done.
    4. `end` asks no client to stay away: each comes back by itself, elsewhere or here.
    5. A connection that is gone is ignored everywhere.
    """

    def shut(self) -> Sequence[ConnectionId]:
        """Let nobody in any more, send those away who are not through the door, and return the others. Promise 1."""
        ...

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        """Tell a client what is to come; False where it has no session (yet). Promise 2."""
        ...

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        """End one connection: answer what has been read, for at most `answer_s`; then close it and wait for the client
        to go, for at most `close_s`; then cut it off. Return how it went. Promises 3 and 4."""
        ...

    async def gone(self, within_s: float) -> bool:
        """Wait until no connection is left, at most so long, if at all; return whether that is so."""
        ...

    def abort(self) -> Sequence[ConnectionId]:
        """Cut off every connection that is left, at once; return them, also those that `shut` has sent away."""
        ...
