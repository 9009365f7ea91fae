"""The writing half of a connection, as the outbox sees it."""

from collections.abc import Callable, Collection
from typing import Protocol


class Writable(Protocol):
    """The writing half of a client's connection."""

    queued: bytes | list[bytes] | None
    """Whole frames that are to be written in this turn, in order."""

    def flush(self) -> int:
        """Send the queued frames; return how many bytes. Raises nothing."""

    def send_now(self, data: bytes) -> int:
        """Send whole frames, if nothing is queued; return how many bytes. Raises nothing."""

    def recount(self) -> int:
        """Ask the transport how many bytes wait in it, and return that number."""

    def drop(self) -> None:
        """Drop the connection with everything that waits for it: the process needs the memory."""


Audience = Callable[[], Collection[Writable]]
"""Returns the clients that are to be given a batch. Called when the batch ends: until then its audience is the same."""
