"""The hub: hosts this replica's channels, and is the one place that puts their events in order.

Hints come in by `Broadcast.listen` and leave in offset order by `Transport.deliver`; missing events are read from the
log (healing.py). State changes between awaits, never across one.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import assert_never

from server.application.channels.healing import Healing
from server.application.channels.hosting import HostedChannel
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.events import Event, UnknownEvent
from server.domain.sequencing import RING_LIMIT, Gap, Known, OtherEpoch, Ready
from server.ports.broadcast import Broadcast, LinkRestored
from server.ports.membership import Membership
from server.ports.message_log import MessageLog, Replay
from server.ports.metrics import SILENT, Metrics
from server.ports.transport import Transport

HINTS_PER_TURN = 32
"""Hints handled before their events are written: a client's share of them goes out in one write."""

LINGER_S = 30.0
"""A channel stays hosted this long after its last member left: a client that reconnects finds its ring filled."""

SWEEP_S = 5.0
"""How often empty channels are looked for."""


class Hub:
    """Hosts channels. `tasks` owns the work that opens and heals them; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        log: MessageLog,
        broadcast: Broadcast,
        transport: Transport,
        membership: Membership,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        metrics: Metrics = SILENT,
    ) -> None:
        self._log = log
        self._broadcast = broadcast
        self._transport = transport
        self._membership = membership
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._hosted: dict[ChannelName, HostedChannel] = {}
        self._opening: dict[ChannelName, asyncio.Task[MaruError | None]] = {}  # one for all who ask for the channel
        self._healing = Healing(log, transport, membership, self._hosted, self._deliver, tasks, metrics)

    @property
    def hosted(self) -> int:
        """How many channels are hosted."""
        return len(self._hosted)

    async def run(self) -> None:
        """Deliver hints until cancelled."""
        hints = 0
        async for hint in self._broadcast.listen():
            if isinstance(hint, LinkRestored):
                for hosted in self._hosted.values():
                    self._healing.mark_stale(hosted)
            else:
                self._accept(hint)
            hints += 1
            if hints % HINTS_PER_TURN == 0:
                await self._transport.settled()

    async def compare(self) -> None:
        """Compare every hosted channel with the log regularly, until cancelled."""
        await self._healing.compare(self._clock)

    async def refresh(self, hosted: HostedChannel) -> None:
        """Compare the channel with the log now, and deliver missing events. Raises `Unavailable`, and `Overloaded` if
        too many are missing to let the caller wait for them."""
        if not await self._healing.read_to_head(hosted):
            self._healing.mark_stale(hosted)
            raise Overloaded(f"'{hosted.name}' is far behind the log here, and is catching up")

    # Opening and releasing

    async def host(self, channel: ChannelName) -> HostedChannel:
        """Return the channel, opened. Raises `Unavailable` if the log or the broker is away.

        The caller may add a member within `LINGER_S`; until then the channel stays hosted.
        """
        hosted = self._hosted.get(channel)
        if hosted is None or hosted.sequencer is None:
            opening = self._opening.get(channel)
            if opening is None:
                opening = self._opening[channel] = self._tasks.create_task(self._open(channel))
            # Shielded: the first caller may be cancelled while others wait for the same channel.
            error = await asyncio.shield(opening)
            if error is not None:
                raise type(error)(error.message) from error
            hosted = self._hosted[channel]
        hosted.empty_since = self._clock()
        return hosted

    async def sweep(self) -> None:
        """Release channels that have been empty for `LINGER_S`, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.release_empty()

    async def release_empty(self) -> None:
        """Release the channels that have been empty for `LINGER_S` by now."""
        now = self._clock()
        for hosted in list(self._hosted.values()):
            if hosted.sequencer is None or self._membership.members(hosted.name):
                hosted.empty_since = now
            elif now - hosted.empty_since >= LINGER_S:
                del self._hosted[hosted.name]
                await self._unsubscribe(hosted.name)

    async def _open(self, channel: ChannelName) -> MaruError | None:
        """Host a channel: subscribe first, read the log second, so that no event falls between the two."""
        hosted = self._hosted[channel] = HostedChannel(channel, self._clock())
        try:
            await self._broadcast.subscribe(channel)
            recent = await self._log.read(channel, 0, 0)
            if recent.head.offset:
                after = max(recent.floor, recent.head.offset - RING_LIMIT)
                recent = await self._log.read(channel, after, RING_LIMIT)
        except MaruError as error:
            del self._hosted[channel]
            await self._unsubscribe(channel)
            return error
        finally:
            del self._opening[channel]
        self._opened(hosted, recent)
        return None

    def _opened(self, hosted: HostedChannel, recent: Replay) -> None:
        for event in hosted.open(recent):
            self._accept(event)
        if hosted.missed_hints or hosted.position.offset < recent.head.offset:
            self._healing.mark_stale(hosted)

    async def _unsubscribe(self, channel: ChannelName) -> None:
        with contextlib.suppress(Unavailable):  # a topic too many costs traffic, not truth
            await self._broadcast.unsubscribe(channel)

    # Ordering

    def _accept(self, event: Event) -> None:
        hosted = self._hosted.get(event.channel)
        if hosted is None:
            return
        if hosted.sequencer is None:
            hosted.hold(event)
            return
        match hosted.sequencer.accept(event):
            case Ready(events):
                self._deliver(hosted, events)
            case Gap() | OtherEpoch():
                self._healing.mark_stale(hosted)
            case Known():
                self._metrics.duplicate_dropped()
            case never:
                assert_never(never)

    def _deliver(self, hosted: HostedChannel, events: tuple[Event, ...]) -> None:
        for event in events:
            hosted.ring.push(event)
            if not isinstance(event, UnknownEvent):
                self._transport.deliver(event)
                self._metrics.ordered(event)
