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

    1. Best effort: what is published after `subscribe` has returned normally reaches `listen`, in some order, perhaps
       twice, perhaps never.
    2. Honest: where hints may have been lost, `LinkRestored` comes once hints flow again.
    3. Pay for what you host: hints of channels without `subscribe` need not arrive.
    4. `publish` raises `Unavailable` where it knows that the hint went nowhere; it waits at most 2 s.
    5. One listener: `listen` is iterated by one task, which must keep up; what it does not fetch is bounded, then
       dropped as in 2.
    6. The last call wins: a `subscribe` that is called after an `unsubscribe`, even before that one has returned,
       leaves the channel subscribed.
    """

    async def publish(self, event: MessageEvent) -> None:
        """Hint at an event that the log has. Promises 1, 4."""
        ...

    async def subscribe(self, channel: ChannelName) -> None:
        """Start receiving the channel's hints. Raises `Unavailable`. Promise 3."""
        ...

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop receiving the channel's hints; one that was under way may still arrive."""
        ...

    def listen(self) -> AsyncIterator[Event | LinkRestored]:
        """All hints of the subscribed channels. Promises 1, 2, 5."""
        ...
