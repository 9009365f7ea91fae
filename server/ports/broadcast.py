"""Telling every replica that a channel has a new event."""

from collections.abc import AsyncIterator, Awaitable, Generator
from dataclasses import dataclass
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.events import Event, LogEvent


@dataclass(frozen=True, slots=True)
class LinkRestored:
    """Hints may have been lost before this moment: compare every hosted channel with the log."""


@dataclass(frozen=True, slots=True)
class HintsLost:
    """Hints of these channels were dropped before this moment: compare the channels with the log."""

    channels: frozenset[ChannelName]


Hint = Event | LinkRestored | HintsLost
"""An item that the listener gets. Closed: match it exhaustively."""


class Published:
    """The result of a `publish` that is over when it returns: awaiting it waits for nothing."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]  # an iterator is all that an await needs


PUBLISHED = Published()


class Broadcast(Protocol):
    """A hint to all replicas that host a channel, the sender's own included. The log is the truth.

    A hint is a best-effort notification of an event; the log is authoritative.

    1. Best effort: a hint that is published after `subscribe` has returned normally reaches `listen`, in some order,
       perhaps twice, perhaps never.
    2. Honest: if hints may have been lost, `LinkRestored` comes once hints flow again; if it is known of which
       channels, `HintsLost`.
    3. Pay for what you host: hints of channels without `subscribe` need not arrive.
    4. `publish` raises `Unavailable` if it knows that the hint reached nobody; it waits at most 2 s.
    5. A single task iterates over `listen`, and must keep up: hints that wait for it are bounded. A hint without room
       is dropped, counted, and `HintsLost` names its channel.
    6. The last call wins: a `subscribe` that is called after an `unsubscribe`, even before the latter has returned,
       leaves the channel subscribed.
    """

    @property
    def dropped(self) -> int:
        """How many hints had no room, since the start. Promise 5."""
        ...

    def publish(self, event: LogEvent) -> Awaitable[None]:
        """Hint at an event that the log has. An adapter that never waits returns `PUBLISHED`. Promises 1, 4."""
        ...

    async def subscribe(self, channel: ChannelName) -> None:
        """Start receiving the channel's hints. Raises `Unavailable`. Promise 3."""
        ...

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop receiving the channel's hints; a hint that was under way may still arrive."""
        ...

    def listen(self) -> AsyncIterator[Hint]:
        """Iterate over the hints of the subscribed channels. Promises 1, 2, 5."""
        ...
