"""Healing: whatever the hints did not bring is read from the log, for a few channels at once."""

import asyncio
from collections.abc import Callable, Mapping
from zlib import crc32

import structlog

from server.application.channels.hosting import HostedChannel
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.ports.membership import Membership
from server.ports.message_log import MessageLog, Replay
from server.ports.metrics import Metrics
from server.ports.transport import Transport

REPAIRS = 16
"""Channels that are repaired at once: enough to hide the log's latency, few enough to leave it to the senders."""

READS_PER_REPAIR = 8
"""Log reads in one repair. A channel that is still behind after these is queued again, behind the others."""

RETRY_S = 0.5
"""Pause after a log read that failed; the log is away, and asking more often does not bring it back."""

COMPARE_S = 8.0
"""Between two comparisons of one channel with the log, if hints can be lost unnoticed: an event whose hint was lost is
delivered within 10 s."""

COMPARE_PARTS = 16
"""The comparisons of a round come in this many batches, so that the log is not asked for 10,000 channels at once."""

_log = structlog.get_logger("maru.hub")


class Healing:
    """Brings channels to the log's head. `hosted` are the hub's channels, `deliver` gives events to the members.

    State changes between awaits, never across one.
    """

    def __init__(
        self,
        log: MessageLog,
        transport: Transport,
        membership: Membership,
        hosted: Mapping[ChannelName, HostedChannel],
        deliver: Callable[[HostedChannel, tuple[Event, ...]], None],
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> None:
        self._log = log
        self._transport = transport
        self._membership = membership
        self._hosted = hosted
        self._deliver = deliver
        self._tasks = tasks
        self._metrics = metrics
        self._stale: dict[ChannelName, None] = {}  # channels that wait to be repaired, in order
        self._workers = 0  # tasks that repair channels now
        self._halted = False  # whether the last read of the log failed

    def mark_stale(self, hosted: HostedChannel) -> None:
        """Repair the channel soon: the log may have events that the channel has not."""
        if hosted.sequencer is None:
            hosted.missed_hints = True  # its opening may have read the log before this moment
            return
        self._stale[hosted.name] = None
        if self._workers < REPAIRS:
            self._workers += 1
            self._tasks.create_task(self._repair_worker())

    async def compare(self, clock: Callable[[], float]) -> None:
        """Compare every hosted channel with the log once per `COMPARE_S`, spread over it, until cancelled: a lost hint
        is found even if no other follows it. `clock` is monotonic, in seconds."""
        part, due = 0, clock()
        while True:
            # By name, not by place in a list: so no channel moves to a later part when others come and go.
            for name, hosted in list(self._hosted.items()):
                if crc32(name.encode()) % COMPARE_PARTS == part:
                    self.mark_stale(hosted)
            part, due = (part + 1) % COMPARE_PARTS, due + COMPARE_S / COMPARE_PARTS
            await asyncio.sleep(max(0.0, due - clock()))

    async def read_to_head(self, hosted: HostedChannel) -> bool:
        """Bring the channel to the log's head. Return False if it is still behind after `READS_PER_REPAIR` reads."""
        assert hosted.sequencer is not None
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

    async def _repair_worker(self) -> None:
        """Repair channels while there are any."""
        try:
            while self._stale:
                name = next(iter(self._stale))
                del self._stale[name]
                try:
                    await self._repair(name)
                except MaruError as error:
                    self._note(failure=error)
                    self._stale[name] = None
                    await asyncio.sleep(RETRY_S)
                else:
                    self._note(failure=None)
        finally:
            self._workers -= 1

    async def _repair(self, name: ChannelName) -> None:
        hosted = self._hosted.get(name)
        if hosted is None or hosted.sequencer is None:
            return  # the channel was released after it was marked stale; reopening reads the log
        if not await self.read_to_head(hosted):
            self._stale[name] = None

    def _note(self, failure: MaruError | None) -> None:
        """Log that healing has come to a halt, or goes on: one line for each change, however many channels wait."""
        if (failure is not None) != self._halted:
            self._halted = failure is not None
            _log.warning("healing.halted" if failure else "healing.resumed", code=failure and failure.code)

    async def _read_once(self, hosted: HostedChannel) -> Position:
        """Read the log once from the channel's position on, take the events in, return the log's head."""
        before = hosted.position
        replay = await self._log.read(hosted.name, before.offset, REPLAY_LIMIT)
        # If the channel was released while the log was read, its members belong to a new `HostedChannel`.
        if self._hosted.get(hosted.name) is hosted:
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
        assert hosted.sequencer is not None
        if hosted.position.epoch != before.epoch or hosted.position.offset < before.offset:
            return
        if replay.head.epoch != hosted.position.epoch:
            self._restart(hosted, replay.head, NotResumable.EPOCH_CHANGED)
        elif replay.head.offset < before.offset:
            self._restart(hosted, replay.head, NotResumable.AHEAD_OF_LOG)
        elif replay.events:
            missing = hosted.sequencer.fill(replay.events)
            if missing:
                self._metrics.gap_healed()
            self._deliver(hosted, missing)
        elif replay.floor > hosted.position.offset:
            self._restart(hosted, replay.head, NotResumable.EXPIRED)

    def _restart(self, hosted: HostedChannel, head: Position, reason: NotResumable) -> None:
        """Go on from the log's head, and tell every member why events are missing."""
        assert hosted.sequencer is not None
        hosted.sequencer.reset(head)
        hosted.ring.clear()
        _log.warning("channel.restarted", channel=hosted.name, reason=reason.value, offset=head.offset)
        for session in self._membership.members(hosted.name):
            self._transport.push(session, ChannelResumed(hosted.name, head, reason, ()))
