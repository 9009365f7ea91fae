"""A subject of core NATS for each channel, heard only while the channel is subscribed: a replica pays for the channels
that it hosts."""

import asyncio
import contextlib
from collections import deque
from functools import partial

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from server.adapters.nats import names
from server.adapters.nats.client import FAILURES, MaruClient
from server.adapters.nats.link import Link
from server.adapters.topics.bus import Failed, Heard, TopicBus
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable

MAX_PAYLOAD = 1024 * 1024
"""Bytes, the default of nats-server, as long as none has told its own."""

WAITING_BYTES = 8 * 1024 * 1024
"""Of messages that are not written yet, because the server reads too slowly: over it nothing is published."""

TELLS_LIMIT = 10_000
"""Payloads that are told, and not yet handed to the library."""


class NatsBus(TopicBus):
    """Topics over a link, which its owner opens and closes."""

    def __init__(self, link: Link, *, prefix: str = names.PREFIX) -> None:
        self.on_message: Heard = lambda _channel, _payload: None
        self.on_restored = link.on_restored
        self._link, self._prefix = link, f"{prefix}.channels."
        self._max_payload = MAX_PAYLOAD
        self._wanted: set[ChannelName] = set()
        self._heard: dict[ChannelName, Subscription] = {}  # on the link's present connection
        self._sending = asyncio.Lock()  # a subscription at a time, so that the last call wins
        self._telling: deque[tuple[str, bytes, Failed]] = deque()
        self._teller: asyncio.Task[None] | None = None
        link.on_connected.append(self._hear_again)

    @property
    def max_payload(self) -> int:
        """How many bytes a payload may have: a setting of the server."""
        return self._max_payload

    @property
    def linked(self) -> asyncio.Event:
        """Set while NATS answers."""
        return self._link.linked

    @property
    def losses(self) -> int:
        """How often the link was lost."""
        return self._link.losses

    async def publish(self, channel: ChannelName, payload: bytes) -> None:
        """Publish, and wait until the server has it. All that is published meanwhile shares the next answer."""
        client = self._ready()
        async with self._link.answered():
            await client.publish(self._subject(channel), payload)
            await asyncio.shield(client.echo.heard())

    def tell(self, channel: ChannelName, payload: bytes, failed: Failed) -> None:
        """Publish without waiting."""
        if len(self._telling) >= TELLS_LIMIT or not self._link.linked.is_set():
            failed()
            return
        self._telling.append((self._subject(channel), payload, failed))
        if self._teller is None:
            self._teller = asyncio.get_running_loop().create_task(self._tell())

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear a channel. If it fails the channel is wanted all the same, and heard once the link is back."""
        self._wanted.add(channel)
        client = self._link.client
        async with self._link.answered():
            await self._follow(client, channel)
            await asyncio.shield(client.echo.heard())

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing a channel. Without a link there is nothing to do."""
        self._wanted.discard(channel)
        with contextlib.suppress(Unavailable):
            client = self._link.client
            async with self._link.answered():
                await self._follow(client, channel)

    async def run(self) -> None:
        """Keep the link until cancelled."""
        await self._link.run()

    def _subject(self, channel: ChannelName) -> str:
        return self._prefix + names.escaped(channel)

    def _ready(self) -> MaruClient:
        """Return the connection. Raises `Unavailable` if there is none, or too much waits for it."""
        client = self._link.client
        if client.pending_data_size > WAITING_BYTES:
            raise Unavailable("NATS reads too slowly")
        return client

    async def _follow(self, client: MaruClient, channel: ChannelName) -> None:
        """Subscribe, or unsubscribe, as is wanted by now."""
        async with self._sending:
            if channel in self._wanted:
                if channel not in self._heard:
                    self._heard[channel] = await self._hear(client, channel)
            elif (subscription := self._heard.pop(channel, None)) is not None:
                await subscription.unsubscribe()

    async def _hear_again(self, client: MaruClient) -> None:
        """Subscribe to every wanted channel on a new connection."""
        self._max_payload = client.max_payload
        async with self._sending:
            self._heard.clear()
            for channel in tuple(self._wanted):
                self._heard[channel] = await self._hear(client, channel)

    async def _hear(self, client: MaruClient, channel: ChannelName) -> Subscription:
        return await client.hear(self._subject(channel), partial(self._take, channel))

    def _take(self, channel: ChannelName, message: Msg) -> None:
        self.on_message(channel, message.data)

    async def _tell(self) -> None:
        """Publish all that is told, in order."""
        while self._telling:
            subject, payload, failed = self._telling.popleft()
            try:
                await self._ready().publish(subject, payload)
            except (*FAILURES, Unavailable):
                failed()
        self._teller = None
