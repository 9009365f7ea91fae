"""Healing: whatever the hints did not bring is read from the log, for a few channels at once."""

import asyncio
from collections.abc import Callable
from zlib import crc32

import structlog

from server.application.channels.delivery import Delivery
from server.application.channels.hosting import HostedChannel, Hosting
from server.application.channels.quarantine import Quarantine
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded
from server.domain.messages import Position
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.ports.message_log import MessageLog, Replay
from server.ports.metrics import ChannelMetrics

REPAIRS = 16
"""Channels that are repaired at once: enough to hide the log's latency, few enough to leave it to the senders."""

READS_PER_REPAIR = 8
"""Log reads in a repair. A channel that is still behind after these is queued again, behind the others."""

RETRY_S = 0.5
"""Pause after a log read that failed; the log is away, and asking more often does not bring it back."""

COMPARE_S = 8.0
"""Between two comparisons of a channel with the log, if hints can be lost unnoticed: an event whose hint was lost is
delivered within 10 s."""

COMPARE_PARTS = 16
"""The comparisons of a round come in this many batches, so that the log is not asked for 10,000 channels at once."""

_log = structlog.get_logger("maru.hub")


class Healing:
    """Brings channels to the log's head. `tasks` owns the repairs; `clock` is monotonic, in seconds.

    State changes between awaits, never across an await.
    """

    def __init__(
        self,
        log: MessageLog,
        hosting: Hosting,
        delivery: Delivery,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        metrics: ChannelMetrics,
        quarantine: Quarantine,
    ) -> None:
        self._log = log
        self._hosting = hosting
        self._delivery = delivery
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._quarantine = quarantine
        self._stale: dict[ChannelName, None] = {}  # channels that wait to be repaired, in order
        self._workers = 0  # tasks that repair channels now
        self._repaired = 0  # repairs that did not fail, of all channels
        self._failed: dict[ChannelName, int] = {}  # channels whose last repair failed, with `_repaired` at that time
        self._halted = False  # whether the last read of the log failed

    def mark_stale(self, channel: ChannelName) -> None:
        """Repair the channel soon: the log may have events that the channel has not."""
        opening = self._hosting.opening(channel)
        if opening is not None:
            opening.missed_hints = True  # the opening may have read the log before this moment
            return
        if self._quarantine.holds(channel):
            return  # is repaired when its time is over
        self._stale[channel] = None
        if self._workers < REPAIRS:
            self._workers += 1
            self._tasks.create_task(self._repair_worker())

    def mark_all_stale(self) -> None:
        """Repair every hosted channel soon."""
        for channel in self._hosting.channels():
            self.mark_stale(channel)

    async def compare(self) -> None:
        """Compare every hosted channel with the log once per `COMPARE_S`, spread over it, until cancelled: a lost hint
        is found even if no other follows it."""
        part, due = 0, self._clock()
        while True:
            # By name, not by place in a list: so no channel moves to a later part when others come and go.
            for channel in self._hosting.channels():
                if crc32(channel.encode()) % COMPARE_PARTS == part:
                    self.mark_stale(channel)
            part, due = (part + 1) % COMPARE_PARTS, due + COMPARE_S / COMPARE_PARTS
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def refresh(self, hosted: HostedChannel) -> None:
        """Compare the channel with the log now, and deliver missing events. Raises `Unavailable`, and `Overloaded` if
        too many are missing to let the caller wait for them."""
        if not await self._read_to_head(hosted):
            self.mark_stale(hosted.name)
            raise Overloaded(f"'{hosted.name}' is far behind the log here, and is catching up")

    async def _repair_worker(self) -> None:
        """Repair channels while there are any."""
        try:
            while self._stale:
                channel = next(iter(self._stale))
                del self._stale[channel]
                try:
                    await self._repair(channel)
                except MaruError as error:
                    await self._put_off(channel, error)
                except Exception as fault:  # noqa: BLE001  # whatever it is, it costs this channel alone
                    self._quarantine.add(channel, fault)
                else:
                    self._repaired += 1
                    self._failed.pop(channel, None)
                    self._note(failure=None)
        finally:
            self._workers -= 1

    async def _repair(self, channel: ChannelName) -> None:
        hosted = self._hosting.channel(channel)
        if hosted is None:
            return  # the channel was released after it was marked stale; reopening reads the log
        if await self._read_to_head(hosted):
            self._quarantine.release(channel)
        else:
            self._stale[channel] = None

    async def _put_off(self, channel: ChannelName, error: MaruError) -> None:
        """Queue a channel again whose repair failed. If the log has answered for others since the channel failed last,
        it is the channel and not the log that is out of order."""
        repaired = self._failed.pop(channel, self._repaired)
        if repaired < self._repaired or self._quarantine.remembers(channel):
            self._quarantine.add(channel, error)
            return
        self._failed[channel] = self._repaired
        self._note(failure=error)
        self._stale[channel] = None
        await asyncio.sleep(RETRY_S)

    def _note(self, failure: MaruError | None) -> None:
        """Log that healing has come to a halt, or goes on: a line for each change, however many channels wait."""
        if (failure is not None) != self._halted:
            self._halted = failure is not None
            _log.warning("healing.halted" if failure else "healing.resumed", code=failure and failure.code)

    async def _read_to_head(self, hosted: HostedChannel) -> bool:
        """Bring the channel to the log's head. Return False if it is still behind after `READS_PER_REPAIR` reads."""
        at_head = False
        for _ in range(READS_PER_REPAIR):
            head = await self._read_once(hosted)
            at_head = hosted.position.epoch == head.epoch and hosted.position.offset >= head.offset
            if at_head and not hosted.sequencer.has_gap:
                return True
        if at_head:
            # The held events lie beyond the log's head, which was read after they came: they are not of this log.
            hosted.sequencer.drop_held()
        return at_head

    async def _read_once(self, hosted: HostedChannel) -> Position:
        """Read the log once from the channel's position on, take the events in, return the log's head."""
        before = hosted.position
        replay = await self._log.read(hosted.name, before.offset, REPLAY_LIMIT)
        # If the channel was released while the log was read, its members belong to a new `HostedChannel`.
        if self._hosting.channel(hosted.name) is hosted:
            self._take(hosted, before, replay)
        return replay.head

    def _take(self, hosted: HostedChannel, before: Position, replay: Replay) -> None:
        """Deliver the events of a read that began at `before`, or tell the members that they can't be given all.

        1. The position has moved back, or to another epoch, while the log was read: the answer is out of date.
        2. The log has another epoch: its earlier life is lost.
        3. The log ends before the position: events that were delivered are lost.
        4. There are events: those that hints have not brought in the meantime are delivered.
        5. There are none, since retention has dropped them.
        """
        if hosted.position.epoch != before.epoch or hosted.position.offset < before.offset:
            return
        if replay.head.epoch != hosted.position.epoch:
            self._delivery.restart(hosted, replay.head, NotResumable.EPOCH_CHANGED)
        elif replay.head.offset < before.offset:
            self._delivery.restart(hosted, replay.head, NotResumable.AHEAD_OF_LOG)
        elif replay.events:
            missing = hosted.sequencer.fill(replay.events)
            if missing:
                self._metrics.gap_healed()
            self._delivery.deliver(hosted, missing)
        elif replay.floor > hosted.position.offset:
            self._delivery.restart(hosted, replay.head, NotResumable.EXPIRED)
