"""Telling every replica that a channel has a new event."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.events import Event, MessageEvent


@dataclass(frozen=True, slots=True)
class LinkRestored:
    """Hints may have been lost before this moment: compare every hosted channel with the log."""


class Broadcast(Protocol):
    """A hint to all replicas that host a channel, the sender's own included. The log is the truth.

    A hint is a best-effort notification of an event; the log is authoritative.

    1. Best effort: a hint that is published after `subscribe` has returned normally reaches `listen`, in some order,
       perhaps twice, perhaps never.
    2. Honest: if hints may have been lost, `LinkRestored` comes once hints flow again.
    3. Pay for what you host: hints of channels without `subscribe` need not arrive.
    4. `publish` raises `Unavailable` if it knows that the hint reached nobody; it waits at most 2 s.
    5. A single task iterates over `listen`, and must keep up: hints that wait for it are bounded, then dropped as in 2.
    6. The last call wins: a `subscribe` that is called after an `unsubscribe`, even before the latter has returned,
       leaves the channel subscribed.
    """

    async def publish(self, event: MessageEvent) -> None:
        """Hint at an event that the log has. Promises 1, 4."""
        ...

    async def subscribe(self, channel: ChannelName) -> None:
        """Start receiving the channel's hints. Raises `Unavailable`. Promise 3."""
        ...

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop receiving the channel's hints; a hint that was under way may still arrive."""
        ...

    def listen(self) -> AsyncIterator[Event | LinkRestored]:
        """Iterate over the hints of the subscribed channels. Promises 1, 2, 5."""
        ...
