"""Revocations of tokens and denials in channels, as they are kept: the store from which each replica loads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.control import Denial, Revocation

ENTRIES_LIMIT = 100_000
"""Revocations, and denials, that have not expired. Each replica has all of them in memory: about 30 MB."""


@dataclass(frozen=True, slots=True)
class Held:
    """The entries of the store that have not expired."""

    revocations: Sequence[Revocation]
    denials: Sequence[Denial]


class Revocations(Protocol):
    """The entries that all replicas heed. Replicas hear of changes by `Control`; this is for those that were away.

    1. Kept: when a method returns, its change is in every later `load`, also of other replicas, and after a restart of
       the process, unless the store is in its memory.
    2. Bounded: `add` and `deny` raise `Overloaded`, and change nothing, if `ENTRIES_LIMIT` entries of the kind are held
       that have not expired. An entry that takes the place of another needs no room.
    3. An entry that has expired is held no longer.
    4. Honest: every method returns within 2 s, or raises `Unavailable`; then its change may be in the store or not.
       `load` may take longer if there are many entries, but not if the store is away.
    5. An entry that can't be read is passed over.
    """

    async def add(self, revocation: Revocation) -> None:
        """Hold a revocation. Promises 1, 2, 4."""
        ...

    async def remove(self, id: str) -> bool:
        """Hold the revocation with this id no longer; return whether it was held. Promises 1, 4."""
        ...

    async def deny(self, denial: Denial) -> None:
        """Hold a denial in place of an earlier one of the same user and channel. An expired denial only ends the
        earlier one. Promises 1, 2, 4."""
        ...

    async def load(self) -> Held:
        """Return all entries, in any order. Promises 1, 3-5."""
        ...
