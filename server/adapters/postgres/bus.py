"""The link to the other replicas by LISTEN and NOTIFY, for which PostgreSQL alone is enough.

Every replica hears the notices of all channels, and drops those that it does not host; what it hears of them does not
outlive a lost connection (ADR 0051).
"""

import asyncio
from collections.abc import Callable

from server.adapters.loops import first_to_fail
from server.adapters.postgres.listener import PULSE_S, Listener
from server.adapters.postgres.notices import MAX_PAYLOAD_BYTES
from server.adapters.postgres.notifier import Notifier
from server.adapters.topics.bus import Failed, Heard, TopicBus
from server.domain.channels import ChannelName

TOPIC = "maru"


class PostgresBus(TopicBus):
    """A topic for each channel, all in the notices of one. `url` may lead through a pooler; `listen_url` must lead past
    it."""

    def __init__(self, url: str, listen_url: str | None = None, *, pulse_s: float = PULSE_S) -> None:
        self.on_message: Heard = lambda _channel, _payload: None
        self.on_restored: list[Callable[[], None]] = []
        self._notifier = Notifier(url, TOPIC, self._doubt)
        self._listener = Listener(
            listen_url or url, TOPIC, self._notifier.publish, self._receive, self._restored, pulse_s
        )

    @property
    def max_payload(self) -> int:
        """How many bytes a payload may have."""
        return MAX_PAYLOAD_BYTES

    @property
    def linked(self) -> asyncio.Event:
        """Set while the listener hears."""
        return self._listener.linked

    @property
    def losses(self) -> int:
        """How often the link was lost; failed tries to reconnect do not count."""
        return self._listener.losses

    @property
    def deaf(self) -> int:
        """How often the listener was opened again because it heard nothing."""
        return self._listener.deaf

    @property
    def refused(self) -> int:
        """How many notices made no sense."""
        return self._listener.refused

    async def publish(self, channel: ChannelName, payload: bytes) -> None:
        """Publish behind everything published before; return once it is committed. Raises `Unavailable`."""
        await self._notifier.publish(channel, payload)

    def tell(self, channel: ChannelName, payload: bytes, failed: Failed) -> None:
        """Publish without waiting. `failed` is called if it can't be done, or not yet be done among so many others."""

        def done(error: Exception | None) -> None:
            if error is not None:
                failed()

        if not self._notifier.submit(channel, payload, done):
            failed()

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear a channel. Raises `Unavailable`."""
        await self._listener.subscribe(channel)

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing a channel."""
        self._listener.unsubscribe(channel)

    async def run(self) -> None:
        """Keep the link until cancelled."""
        await first_to_fail(self._notifier.run(), self._listener.run())

    def _receive(self, channel: ChannelName, payload: bytes) -> None:
        self.on_message(channel, payload)

    def _restored(self) -> None:
        for restored in self.on_restored:
            restored()

    def _doubt(self) -> None:
        self._listener.doubt()
