"""What the log owes the endpoints of webhooks: kept with the log, so that no crash loses an event."""

from collections.abc import Sequence
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.messages import Position
from server.domain.replicas import ReplicaId

LEAD_S = 10.0
"""A replica dispatches for an endpoint for so long after it was told to."""

OPEN_AGAIN_S = 60.0
"""How often the leader of an endpoint opens it again."""

FORGOTTEN_S = 7 * 24 * 3600.0
"""An endpoint that nobody has opened for so long is forgotten."""

DEAD_LETTERS = 10_000
"""Dead letters that an endpoint keeps; the oldest go first."""


class Webhooks(Protocol):
    """Debts to endpoints. A debt is made by the append itself, in its transaction or script, whichever replica appends.

    1. Nothing lost: when an append has returned, the channel owes the event to every endpoint that is open for it,
       until `deliver` or `bury` has gone past it. A kill at any moment changes nothing of that.
    2. `open` opens an endpoint for the channels that its patterns cover (none: for all). A new endpoint begins at the
       present heads or, `from_start`, with all that the log keeps. For an open endpoint, only the patterns change:
       channels that they cover no longer owe nothing new, others begin at their present heads. The leader calls it
       at the beginning and every `OPEN_AGAIN_S`, so that a store that has lost the endpoint gets it back; `from_start`
       if it was open before, since the store has owed it nothing meanwhile. An endpoint that was not opened for
       `FORGOTTEN_S` is forgotten, with its debts and dead letters.
    3. `deliver` and `bury` move a debt from the place `delivered` to `to`, and return True. If the debt is at another
       place by now, or `to` is not in the channel's log (any more), they return False and change nothing. A debt that
       has reached the head of its log is gone in the same step, and no append in between loses its event.
    4. A single dispatcher: no two replicas lead an endpoint. `lead` renews; a lead ends `LEAD_S` after its last
       renewal, or at once by `hand_over`. (The leader before may still deliver what it had begun: hence promise 3.)
    5. `debts` gives a page of channels with debts, in the order of an opaque cursor: `after` is the `next` of the page
       before, None at the beginning and at the end. `limit` is about how many. While debts are added and removed, a
       debt that was there all the time is found, at least once. `owed` counts the channels.
    6. Losses: if the log has lost events of a channel and begun a new epoch, the debt stays at its place in the old
       epoch. The endpoint's events stand behind `Debt.place`; what was between is a gap, of which it is to be told,
       before `deliver` moves the debt from the one to the other. It moves no further, but to the floor: if events
       were written in the new epoch since the `Debt` was read, its place may be behind them, and `deliver` returns
       False. A store that knows of a loss owes that to every endpoint, also if the channel owed nothing.
    7. Dead letters are kept in order, `DEAD_LETTERS` at most; `take` removes them. A kill within `bury` may leave the
       letter of events that are delivered all the same.
    8. Every call raises `Unavailable` within 2 s; `open` with `from_start` takes its time over a large log, and can be
       called again after any error.
    """

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        """Let the log owe its events to an endpoint; return whether it is new. Promise 2."""
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
        """Note that the endpoint has the events up to `to`. Promises 3, 6."""
        ...

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        """As `deliver`, for events that the endpoint does not get; keep the letter, whose id the store gives.
        Promises 3, 7."""
        ...

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        """Return dead letters, oldest first, with ids above `after`. `BadRequest` if that is no id. Promise 7."""
        ...

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        """Remove dead letters, and return those that were there. Promise 7."""
        ...
