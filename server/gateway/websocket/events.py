"""How far a connection is, and what it tells the object that keeps it."""

from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, Protocol, TypeVar

C_contra = TypeVar("C_contra", contravariant=True)
"""The connection's class, which knows this module and not the other way round."""


class ConnectionState(IntEnum):
    """How far a connection is. It only grows."""

    OPEN = 0
    PARTING = 1  # the last packet is written, no further packet is taken, and the client may close first
    CLOSING = 2  # the last frame is written
    CLOSED = 3  # the transport is gone


class ConnectionEvents(Protocol[C_contra]):
    """Called by connections; see `Connection` for the order in which an end is told."""

    def may_begin(self) -> bool:
        """Count a command that is to be begun at once, and say whether this turn has room for it."""

    def take_at_once(self, connection: C_contra, packet: str) -> bool:
        """Begin a command that needs no task, and return True; or do nothing, and return False. The connection's lane
        is told of the answer. Raises nothing."""

    async def received(self, connection: C_contra, packet: str) -> None:
        """Handle a Socket.IO packet. Raises nothing."""

    def leaving(self, connection: C_contra) -> None:
        """Call the connection's `hang_up` soon."""

    def lost(self, connection: C_contra) -> None:
        """Stop counting on the connection. Its `cause` says why it is gone."""

    def ended(self, connection: C_contra) -> None:
        """Forget the connection. Raises nothing."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that handles its own errors, as a task."""
