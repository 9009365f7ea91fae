"""The channels that a replica hears, and those that it is about to hear."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Interest:
    """That a channel is wanted, until it is dropped. `waiting`: blocks of `asking` that have not ended."""

    waiting: int = 0


class Interests:
    """Channels by the keys of their records. The last call wins: a channel that is dropped is not heard because of a
    block that began before."""

    def __init__(self) -> None:
        self.heard: set[bytes] = set()
        """The reader's thread looks at it."""
        self._wanted: dict[bytes, _Interest] = {}

    @contextmanager
    def asking(self, key: bytes) -> Iterator[None]:
        """Hear a channel once the block has ended without an error."""
        interest = self._wanted.setdefault(key, _Interest())
        interest.waiting += 1
        try:
            yield
            if self._wanted.get(key) is interest:
                self.heard.add(key)
        finally:
            interest.waiting -= 1
            if not interest.waiting and key not in self.heard and self._wanted.get(key) is interest:
                del self._wanted[key]

    def drop(self, key: bytes) -> None:
        """Hear a channel no more."""
        self._wanted.pop(key, None)
        self.heard.discard(key)
