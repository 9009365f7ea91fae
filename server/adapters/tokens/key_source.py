"""The keys that tokens are checked with, and how a verifier finds the key of a token."""

from collections.abc import Sequence
from typing import Protocol

from server.adapters.tokens.keys import Key


class KeySource(Protocol):
    """Keys that tokens are checked with.

    1. A key is in one source at most once; its object is the same as long as the source holds it.
    2. `kid` is a stranger's text: it chooses among the keys that are held, and is repeated in no error.
    """

    def find(self, kid: str | None, now_s: float, *, asked: bool = False) -> Sequence[Key] | None:
        """Return the keys that may have signed a token with this `kid`; None if `ask` has to be called first.

        `asked`: it was called just now, so the answer is no longer None. Raises `Unauthenticated` if there is no such
        key, `Unavailable` if there may be. `now_s` is wall-clock time in seconds.
        """
        ...

    def holds(self, key: Key, now_s: float) -> bool:
        """Say whether tokens of the key are still good."""
        ...

    async def ask(self) -> None:
        """Bring the keys up to date. Raises `Unavailable`."""
        ...


class FixedKeys(KeySource):
    """Keys that the settings name; each is tried, in their order. A token's `kid` chooses none."""

    def __init__(self, *keys: Key) -> None:
        self._keys = keys

    def find(self, kid: str | None, now_s: float, *, asked: bool = False) -> Sequence[Key]:  # the port's
        """Return the keys that are not over."""
        return [key for key in self._keys if self.holds(key, now_s)]

    async def ask(self) -> None:
        """Do nothing: these are all."""

    def holds(self, key: Key, now_s: float) -> bool:
        """Say whether the key's time is not over."""
        return key.until_s is None or now_s < key.until_s
