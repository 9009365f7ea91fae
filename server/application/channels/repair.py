"""Repair: a channel is brought to the log's head, at the pace of its members."""

import asyncio
from collections.abc import Iterator, Sequence

from server.application.channels.delivery import Delivery
from server.application.channels.hosting import HostedChannel, Hosting
from server.application.channels.pace import Pace
from server.domain.channels import ChannelName
from server.domain.events import Event, EventPublished, MessageCreated, MessageEdited, ReactionChanged
from server.domain.messages import Position
from server.domain.recovery import ALWAYS_FITS, REPLAY_LIMIT, NotResumable, json_size
from server.domain.sequencing import Fingerprint, fingerprint
from server.ports.membership import Membership
from server.ports.message_log import MessageLog, Replay
from server.ports.metrics import ChannelMetrics
from server.ports.transport import Transport

READS_PER_REPAIR = 8
"""Log reads in a repair. A channel that is still behind after these is queued again, behind the others."""

GAP_S = 0.015
"""Time for a hint that is on its way: hints of two replicas cross on each busy channel."""

PART_BYTES = 128 * 1024
"""Bytes of JSON that are delivered at once, approximately: an eighth of the bound for a slow reader. A client's line of
0.5 MB/s takes them in a quarter of a second."""


class Repair:
    """Reads the log and delivers the events that no hint has brought.

    Reads of one channel may overlap, and deliveries do not. State changes between awaits, never across an await.
    """

    def __init__(
        self,
        log: MessageLog,
        hosting: Hosting,
        delivery: Delivery,
        transport: Transport,
        membership: Membership,
        metrics: ChannelMetrics,
    ) -> None:
        self._log = log
        self._hosting = hosting
        self._delivery = delivery
        self._transport = transport
        self._membership = membership
        self._metrics = metrics
        self._delivering: dict[ChannelName, asyncio.Future[None]] = {}  # done when the delivery is over
        self._again: set[ChannelName] = set()  # channels that must be read once more after the delivery under way

    def joins(self, channel: ChannelName) -> bool:
        """Let a delivery that is under way read the channel once more. Return False if there is none."""
        if channel not in self._delivering:
            return False
        self._again.add(channel)
        return True

    async def suspects(self, channels: Sequence[ChannelName]) -> Sequence[ChannelName]:
        """Return the channels that may be behind the log: those of which it is not known that they are at its head."""
        try:
            heads = await self._log.heads(channels)
        except Exception:  # noqa: BLE001  # the reads of the channels will tell what is wrong with which
            return channels
        if heads is None:
            return channels
        return [channel for channel in channels if not self._is_at(channel, heads[channel])]

    def _is_at(self, channel: ChannelName, head: Position) -> bool:
        hosted = self._hosting.channel(channel)
        return hosted is not None and hosted.position == head and not hosted.doubts

    async def to_head(self, hosted: HostedChannel, grace_s: float = 0.0) -> bool:
        """Bring the channel to the log's head. Return False if it is still behind after `READS_PER_REPAIR` reads.

        The log's events may be so new that their hints are on their way: these have `grace_s` to arrive.
        """
        at_head = False
        for _ in range(READS_PER_REPAIR):
            head = await self._read_once(hosted, grace_s)
            at_head = hosted.position.epoch == head.epoch and hosted.position.offset >= head.offset
            if at_head and not hosted.sequencer.has_gap and not hosted.doubts and hosted.name not in self._again:
                return True
        if at_head:
            # The held events lie beyond the log's head, which was read after they came: they are not of this log.
            hosted.sequencer.drop_held()
        return at_head and not hosted.doubts

    async def _read_once(self, hosted: HostedChannel, grace_s: float) -> Position:
        """Read the log once from the channel's position on, deliver the missing events, return the log's head."""
        await self._delivered(hosted.name)
        self._again.discard(hosted.name)
        before, last, resets, doubts = hosted.position, hosted.last, hosted.sequencer.resets, hosted.doubts
        # The event at the position is read, too: it may not be the event that was delivered.
        after = max(0, before.offset - 1)
        replay = await self._log.read(hosted.name, after, REPLAY_LIMIT + 1)
        if after < replay.floor == before.offset < replay.head.offset:  # it is no longer kept; those behind it are
            replay = await self._log.read(hosted.name, before.offset, REPLAY_LIMIT)
        if grace_s and replay.head.offset > before.offset:
            await asyncio.sleep(grace_s)
        # If the channel was released while the log was read, its members belong to a new `HostedChannel`. If it was
        # reset, the answer is out of date.
        if self._is_current(hosted, resets) and hosted.name not in self._delivering:
            if hosted.doubts == doubts:  # nothing has raised new doubts in the meantime
                hosted.doubts = 0
            if hosted.position == before:
                hosted.last = last or _at(before.offset, replay)
            await self._take(hosted, before, last, replay)
        return replay.head

    def _is_current(self, hosted: HostedChannel, resets: int) -> bool:
        return self._hosting.channel(hosted.name) is hosted and hosted.sequencer.resets == resets

    async def _take(self, hosted: HostedChannel, before: Position, last: Fingerprint | None, replay: Replay) -> None:
        """Deliver the events of a read that began at `before`, or tell the members that they can't be given all.

        1. The log has another epoch: its earlier life is lost.
        2. The log ends before the position, or another event stands there: events that were delivered are lost.
        3. Retention has dropped events that were not delivered.
        4. More are missing than a client may be behind.
        5. There are events: those that hints have not brought in the meantime are delivered.
        """
        reason: NotResumable | None = None
        if replay.head.epoch != hosted.position.epoch:
            reason = NotResumable.EPOCH_CHANGED
        elif replay.head.offset < before.offset or (last and _at(before.offset, replay) not in (last, None)):
            reason = NotResumable.AHEAD_OF_LOG
        elif replay.floor > hosted.position.offset:
            reason = NotResumable.EXPIRED
        elif replay.head.offset - hosted.position.offset > REPLAY_LIMIT:
            reason = NotResumable.TOO_FAR_BEHIND
        if reason is not None:
            self._delivery.restart(hosted, replay.head, reason)
        else:
            await self._deliver(hosted, replay.events)

    async def _deliver(self, hosted: HostedChannel, events: Sequence[Event]) -> None:
        """Deliver the missing events in parts, and wait for the members in between."""
        over = self._delivering[hosted.name] = asyncio.get_running_loop().create_future()
        pace = Pace(self._transport, self._membership, hosted.name)
        resets, delivered, lost = hosted.sequencer.resets, False, False
        try:
            for number, part in enumerate(_parts(events)):
                if number and delivered:
                    await pace.keep()
                if not self._is_current(hosted, resets):
                    break
                lost = lost or hosted.sequencer.lacks(part)
                missing = hosted.sequencer.fill(part)
                delivered = delivered or bool(missing)
                self._delivery.deliver(hosted, missing)
        finally:
            del self._delivering[hosted.name]
            over.set_result(None)
            if lost:
                self._metrics.gap_healed()

    async def _delivered(self, channel: ChannelName) -> None:
        """Wait for the delivery that is under way, if there is any."""
        while (over := self._delivering.get(channel)) is not None:
            await asyncio.shield(over)


def _at(offset: int, replay: Replay) -> Fingerprint | None:
    """Return the fingerprint of the event that stands at the offset, if the slice begins there."""
    first = replay.events[0] if replay.events else None
    return fingerprint(first) if first is not None and first.offset == offset else None


def _parts(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Cut the events into parts of about `PART_BYTES`."""
    start = size = 0
    if len(events) > ALWAYS_FITS:
        for end, event in enumerate(events, 1):
            size += _size(event)
            if size >= PART_BYTES:
                yield events[start:end]
                start, size = end, 0
    yield events[start:]


def _size(event: Event) -> int:
    if isinstance(event, MessageCreated | MessageEdited):
        return json_size(event.message)
    return json_size(event) if isinstance(event, EventPublished | ReactionChanged) else 0
