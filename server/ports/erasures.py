"""Erasures that were asked for: kept with the log until they are done, and for a day after that."""

from collections.abc import Sequence
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.erasures import Erasure
from server.domain.identity import UserId

ERASURES_LIMIT = 1_000
"""Erasures that are kept. The oldest that are done go first."""

KEPT_MS = 24 * 3_600_000
"""For so long an erasure is kept that is done: as long as idempotency keys are."""


class Erasures(Protocol):
    """The erasures of a deployment.

    1. Kept: when `add` or `replace` has returned, the erasure is in every later `all` and `find`, by anyone, and after
       a crash (as far as the log outlives it).
    2. `add` keeps an erasure; if another has its id, that is returned, and nothing changes. Erasures that were done
       more than `KEPT_MS` before the new erasure began are forgotten; and so are the oldest that are done, if
       `ERASURES_LIMIT` are kept. `Overloaded` if none of them is done.
    3. `replace` writes only if the erasure is still as `old`: of two replicas that replace the same, one gets True.
    4. `channels` gives a page of channels, and the next page's cursor, None at the end. All pages together have each
       channel in which the user had written before the first was asked for; they may have others.
    5. An entry that can't be read is passed over.
    6. Every call raises `Unavailable` within 2 s. Then a change may have been made or not.
    """

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2, 6."""
        ...

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure with this id. Promises 1, 5, 6."""
        ...

    async def all(self) -> Sequence[Erasure]:
        """Return all that are kept, by the time at which they began. Promises 1, 5, 6."""
        ...

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write `new` in the place of `old`, which has the same id. Promises 1, 3, 6."""
        ...

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Return channels in which the user may have written, and where the next page begins. Promises 4, 6."""
        ...
