"""What a broker does for replicas: it carries payloads on a topic for each channel."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from server.domain.channels import ChannelName

Heard = Callable[[ChannelName, bytes], None]
Failed = Callable[[], None]


class TopicBus(Protocol):
    """Topics that every replica can publish to and hear. `run` is the listener; its owner starts and ends it.

    `on_message` gets the payloads of subscribed channels, and may get others. Each of `on_restored` is called when the
    link is whole again (also for the first time): payloads published before may have been missed.
    """

    on_message: Heard
    on_restored: list[Callable[[], None]]

    @property
    def max_payload(self) -> int:
        """How many bytes a payload may have."""
        ...

    @property
    def linked(self) -> asyncio.Event:
        """Set while the bus hears."""
        ...

    @property
    def losses(self) -> int:
        """How often the link was lost; failed tries to reconnect do not count."""
        ...

    async def publish(self, channel: ChannelName, payload: bytes) -> None:
        """Publish behind everything that was published before. Raises `Unavailable` within 2 s if nobody gets it."""
        ...

    def tell(self, channel: ChannelName, payload: bytes, failed: Failed) -> None:
        """Publish without waiting; `failed` is called if it can't be done, or not yet among so many others."""
        ...

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear a channel: what is published after this has returned, arrives. Raises `Unavailable`. The last call of
        `subscribe` and `unsubscribe` wins."""
        ...

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing a channel."""
        ...

    async def run(self) -> None:
        """Keep the link until cancelled."""
        ...
