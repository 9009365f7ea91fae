"""What the log owes the endpoints of webhooks: kept with the log, so that no crash loses an event."""

from collections.abc import Sequence
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.messages import Position
from server.domain.replicas import ReplicaId

LEAD_S = 10.0
"""A replica dispatches for an endpoint for so long after it was told to."""

DEAD_LETTERS = 10_000
"""Dead letters that an endpoint keeps; the oldest go first."""


class Webhooks(Protocol):
    """Debts to endpoints. A debt is made by the append itself, in its transaction or script.

    1. Nothing lost: when an append has returned, the channel owes the event to every endpoint that was opened before,
       until `deliver` or `bury` has gone past it. A kill at any moment changes nothing of that.
    2. `open` is for a new endpoint: it begins at the present heads or, `from_start`, with all that the log keeps. For
       an endpoint that was opened before, it changes nothing.
    3. `deliver` and `bury` move a debt's place from `delivered` to `to`, and return True; if another dispatcher was
       faster, or the epoch is another by now, they return False and change nothing. A debt that has reached the head
       of its log is gone in the same step, and no append in between loses its event.
    4. A single dispatcher: no two replicas lead an endpoint. `lead` renews; a lead ends `LEAD_S` after its last
       renewal, or at once by `hand_over`. (Who led before may still deliver what it had begun: hence promise 3.)
    5. `debts` gives a page of channels with debts, in the order of an opaque cursor: `after` is the `next` of the page
       before, None at the beginning and at the end. While debts are added and removed, a debt that was there all the
       time is found. `owed` counts the channels.
    6. Dead letters are kept in order, `DEAD_LETTERS` at most; `take` removes them.
    7. Every call raises `Unavailable` within 2 s.
    """

    async def open(self, endpoint: str, *, from_start: bool) -> None:
        """Let the log owe its events to an endpoint. Promise 2."""
        ...

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        """Lead the endpoint, or go on; return whether this replica does. Promise 4."""
        ...

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        """Lead the endpoint no more. Promise 4."""
        ...

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        """Return a page of debts, and where the next one begins. Promise 5."""
        ...

    async def owed(self, endpoint: str) -> int:
        """Return how many channels owe the endpoint something."""
        ...

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        """Note that the endpoint has the events up to `to`. Promise 3."""
        ...

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        """As `deliver`, for events that the endpoint does not get; keep the letter. Promise 3."""
        ...

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        """Return dead letters, oldest first, with ids above `after`. Promise 6."""
        ...

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        """Remove dead letters, and return those that were there. Promise 6."""
        ...
