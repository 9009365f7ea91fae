"""The hub: hosts this replica's channels, and is the only place that puts their events in order.

Hints come in by `Broadcast.listen` and leave in offset order by `Transport.deliver`; missing events are read from the
log (healing.py). State changes between awaits, never across an await.
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

from server.application.channels.delivery import Delivery
from server.application.channels.healing import Healing
from server.application.channels.hosting import HOSTED_LIMIT, HostedChannel, Hosting, Opening
from server.application.channels.lanes import Lanes
from server.application.channels.quarantine import Quarantine
from server.application.channels.repair import Repair
from server.domain.channels import ChannelName
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.rings import Rings
from server.domain.sequencing import Gap, Known, OtherEpoch, Ready
from server.ports.broadcast import Broadcast, HintsLost, LinkRestored
from server.ports.membership import Membership
from server.ports.message_log import MessageLog
from server.ports.metrics import SILENT, ChannelMetrics
from server.ports.transport import Transport

HINTS_PER_TURN = 32
"""Hints handled before other tasks get a turn."""


class Hub:
    """Hosts channels, at most `limit`. `tasks` owns the work that opens and heals them; `clock` is monotonic, in
    seconds."""

    def __init__(  # noqa: PLR0913  # everything that a channel needs, wired in one place
        self,
        log: MessageLog,
        broadcast: Broadcast,
        transport: Transport,
        membership: Membership,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        metrics: ChannelMetrics = SILENT,
        *,
        rings: Rings,
        limit: int = HOSTED_LIMIT,
    ) -> None:
        self._broadcast = broadcast
        self._metrics = metrics
        self._lanes = Lanes(self._accept, transport.settled, tasks)
        self.clock = clock
        self.quarantine = Quarantine(tasks, self._retry, metrics)
        self._delivery = Delivery(log, transport, membership, metrics)
        self._hosting = Hosting(log, broadcast, membership, tasks, clock, rings, self._opened, self.quarantine, limit)
        repair = Repair(log, self._hosting, self._delivery, transport, membership, metrics)
        self._healing = Healing(self._hosting, repair, tasks, clock, self.quarantine)

    def on_delivered(self, act: Callable[[Event], None]) -> None:
        """Do this with each event behind its delivery, in the same step. It must not wait for anything, or raise."""
        self._delivery.acts.append(act)

    def on_restarted(self, act: Callable[[ChannelName, Position], None]) -> None:
        """Let this tell the members of a channel that was restarted, given the position that they were at."""
        self._delivery.restarted = act

    @property
    def hosted(self) -> int:
        """How many channels are hosted."""
        return len(self._hosting)

    def has_events(self, channel: ChannelName) -> bool:
        """Say whether the channel is hosted, and has events."""
        hosted = self._hosting.channel(channel)
        return hosted is not None and hosted.position.offset > 0

    async def run(self) -> None:
        """Deliver hints until cancelled."""
        hints = 0
        async for hint in self._broadcast.listen():
            match hint:
                case LinkRestored():
                    self.quarantine.retry_all()
                    self._healing.doubt_all()
                case HintsLost(channels):
                    for channel in channels:
                        self._healing.mark_stale(channel)
                case event:
                    self._lanes.take(event)
            hints += 1
            if hints % HINTS_PER_TURN == 0:
                await self._lanes.pause()

    async def compare(self) -> None:
        """Compare every hosted channel with the log regularly, until cancelled."""
        await self._healing.compare()

    async def sweep(self) -> None:
        """Release channels that have been empty for `LINGER_S`, until cancelled."""
        await self._hosting.sweep()

    async def release_empty(self) -> None:
        """Release the channels that have been empty for `LINGER_S` by now."""
        await self._hosting.release_empty()

    def hosts(self, channel: ChannelName) -> bool:
        """Say whether the channel is open here, so that entering it asks nobody."""
        return self._hosting.channel(channel) is not None

    def host_at_once(self, channel: ChannelName) -> HostedChannel | None:
        """As `Hosting.host_at_once`."""
        return self._hosting.host_at_once(channel)

    async def host(self, channel: ChannelName, since: Position | None = None) -> HostedChannel:
        """As `Hosting.host`."""
        return await self._hosting.host(channel, since)

    async def refresh(self, hosted: HostedChannel) -> None:
        """Compare the channel with the log now, and deliver missing events. Raises `Unavailable`, and `Overloaded` if
        too many are missing to let the caller wait for them."""
        await self._healing.refresh(hosted)

    def _opened(self, hosted: HostedChannel, opening: Opening) -> None:
        for event in opening.held:
            self._accept(event)
        if opening.missed_hints:
            self._healing.mark_stale(hosted.name)

    def _retry(self, channel: ChannelName) -> None:
        """Repair a channel whose time in quarantine is over, if it is hosted."""
        if self._hosting.channel(channel) is not None:
            self._healing.mark_stale(channel)

    def _accept(self, event: Event) -> None:
        """Take a hint. A fault is that of its channel alone; the channel's repair reads the event from the log."""
        if not self.quarantine.holds(event.channel):
            try:
                self._order(event)
            except Exception as fault:  # noqa: BLE001  # whatever it is, it costs this channel alone
                self.quarantine.add(event.channel, fault)

    def _order(self, event: Event) -> None:
        hosted = self._hosting.channel(event.channel)
        if hosted is None:
            opening = self._hosting.opening(event.channel)
            if opening is not None:
                opening.hold(event)
            return
        if hosted.doubts and event.epoch == hosted.position.epoch:
            hosted.sequencer.hold(event)  # the repair that is due delivers it, or finds that it is of another log
            return
        match hosted.sequencer.accept(event):
            case Ready(events):
                self._delivery.deliver(hosted, events)
            case Gap():
                self._healing.mark_gap(hosted)
            case OtherEpoch():
                self._healing.mark_stale(hosted.name)
            case Known():
                self._metrics.duplicate_dropped()
            case never:
                assert_never(never)
