"""The replicas of a deployment: each has a lease, which ends by itself if the replica does not renew it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState

LEASE_S = 20.0
"""A replica that was not heard of for so long is dead."""

RENEW_S = 5.0
"""How often a replica renews its lease: three renewals may fail."""

MAX_NUMBERS = 64
"""Numbers in a row."""


class Replicas(Protocol):
    """The replicas that live.

    1. `renew` writes the row of this replica, and lets it live for `LEASE_S` more by the store's clock.
    2. `living` returns the rows of all replicas whose lease has not ended, this one's included after its first `renew`,
       in the order of their ids. A replica that is killed is missing `LEASE_S` after its last `renew`, at the latest
       two seconds later; a replica that called `leave` is missing at once.
    3. A row that can't be read, or of a newer version, is passed over.
    4. Every call raises `Unavailable` within 2 s.
    """

    @property
    def id(self) -> ReplicaId:
        """The id of this replica."""
        ...

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        """Say that this replica lives. Promises 1, 4."""
        ...

    async def living(self) -> Sequence[ReplicaRow]:
        """Return the replicas that live. Promises 2-4."""
        ...

    async def leave(self) -> None:
        """End this replica's lease. Promises 2, 4."""
        ...
