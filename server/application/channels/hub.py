"""The hub: what this replica knows of the channels that it hosts, and the one place that puts their events in order.

Hints come in by `Broadcast.listen`, leave in offset order by `Transport.deliver`, and whatever is missing is read from
the log. State changes between awaits, never across one.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import assert_never
from zlib import crc32

import structlog

from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.events import Event, UnknownEvent
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.domain.sequencing import HELD_LIMIT, RING_LIMIT, Gap, Known, OtherEpoch, Ready, Ring, Sequencer
from server.ports.broadcast import Broadcast, LinkRestored
from server.ports.membership import Membership
from server.ports.message_log import MessageLog, Replay
from server.ports.metrics import SILENT, Metrics
from server.ports.transport import Transport

HEALERS = 16
"""Log reads that heal channels at once: enough to hide latency, few enough to leave the log to the senders."""

HEAL_READS = 8
"""Reads in one healing. A channel that is still behind after so many is queued again, behind the others."""

HEAL_RETRY_S = 0.5
"""Pause after a failed healing read; the log is away, and hammering it does not bring it back."""

HINTS_PER_TURN = 32
"""Hints handled before what they bring is written: a client's share of them goes out in one piece."""

COMPARE_S = 8.0
"""Between two comparisons of one channel, where hints can be lost unnoticed; a late one is still within 10 s."""

COMPARE_PARTS = 16
"""The comparisons of a round come in so many portions, so that the log is not asked for 10,000 channels at once."""

LINGER_S = 30.0
"""A channel stays hosted this long after its last member left: a reconnect finds the ring warm."""

SWEEP_S = 5.0
"""How often empty channels are looked for."""

_log = structlog.get_logger("maru.hub")


class HostedChannel:
    """A channel with, or lately with, members on this replica."""

    __slots__ = ("early", "empty_since", "missed_hints", "name", "ring", "sequencer")

    def __init__(self, name: ChannelName, now: float) -> None:
        self.name = name
        self.sequencer: Sequencer | None = None
        self.ring = Ring()
        self.early: list[Event] = []
        self.missed_hints = False
        self.empty_since = now

    @property
    def position(self) -> Position:
        """The last event given to members. Only of an opened channel."""
        assert self.sequencer is not None
        return self.sequencer.position

    def keep_early(self, event: Event) -> None:
        """Keep a hint that came before the channel's position was known."""
        if len(self.early) < HELD_LIMIT:
            self.early.append(event)
        else:
            self.missed_hints = True


class Hub:
    """Hosts channels. `tasks` owns the healers; `clock` is monotonic, in seconds."""

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
        self._opening: dict[ChannelName, asyncio.Task[MaruError | None]] = {}
        self._unwell: dict[ChannelName, None] = {}
        self._healers = 0
        self._halted = False

    @property
    def hosted(self) -> int:
        """How many channels are hosted."""
        return len(self._hosted)

    async def run(self) -> None:
        """Deliver hints until cancelled."""
        turn = 0
        async for hint in self._broadcast.listen():
            if isinstance(hint, LinkRestored):
                for hosted in self._hosted.values():
                    self._heal(hosted)
            else:
                self._accept(hint)
            turn += 1
            if turn % HINTS_PER_TURN == 0:
                await self._transport.settled()

    async def compare(self) -> None:
        """Compare every hosted channel with the log once per `COMPARE_S`, spread over it, until cancelled: a lost hint
        is found even where no other follows it."""
        part, due = 0, self._clock()
        while True:
            # By name and not by place in a list, so that coming and going moves nobody to a later part.
            for name, hosted in list(self._hosted.items()):
                if crc32(name.encode()) % COMPARE_PARTS == part:
                    self._heal(hosted)
            part, due = (part + 1) % COMPARE_PARTS, due + COMPARE_S / COMPARE_PARTS
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def sweep(self) -> None:
        """Let go of channels that have been empty for `LINGER_S`, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.release_empty()

    async def release_empty(self) -> None:
        """Let go of the channels that have been empty for `LINGER_S` by now."""
        now = self._clock()
        for hosted in list(self._hosted.values()):
            if hosted.sequencer is None or self._membership.members(hosted.name):
                hosted.empty_since = now
            elif now - hosted.empty_since >= LINGER_S:
                del self._hosted[hosted.name]
                await self._ignore(hosted.name)

    async def host(self, channel: ChannelName) -> HostedChannel:
        """Return the channel, opened; `Unavailable` where the log or the broker is away.

        Who calls it may add a member within `LINGER_S`; until then the channel stays hosted.
        """
        hosted = self._hosted.get(channel)
        if hosted is None or hosted.sequencer is None:
            opening = self._opening.get(channel)
            if opening is None:
                opening = self._opening[channel] = self._tasks.create_task(self._open(channel))
            # Shielded: the first asker may be cancelled while others wait for the same channel.
            error = await asyncio.shield(opening)
            if error is not None:
                raise type(error)(error.message) from error
            hosted = self._hosted[channel]
        hosted.empty_since = self._clock()
        return hosted

    async def refresh(self, hosted: HostedChannel) -> None:
        """Compare the channel with the log now, and deliver what is missing. Raises `Unavailable`; `Overloaded` where
        so much is missing that the caller must not wait for it."""
        if not await self._level(hosted):
            self._heal(hosted)
            raise Overloaded(f"'{hosted.name}' is far behind the log here, and is catching up")

    async def _open(self, channel: ChannelName) -> MaruError | None:
        """Host a channel: interest first, position second, so that no event falls between the two."""
        hosted = self._hosted[channel] = HostedChannel(channel, self._clock())
        try:
            await self._broadcast.subscribe(channel)
            recent = await self._log.read(channel, 0, 0)
            if recent.head.offset:
                after = max(recent.floor, recent.head.offset - RING_LIMIT)
                recent = await self._log.read(channel, after, RING_LIMIT)
        except MaruError as error:
            del self._hosted[channel]
            await self._ignore(channel)
            return error
        finally:
            del self._opening[channel]
        self._start(hosted, recent)
        return None

    async def _ignore(self, channel: ChannelName) -> None:
        with contextlib.suppress(Unavailable):  # a topic too many costs traffic, not truth
            await self._broadcast.unsubscribe(channel)

    def _start(self, hosted: HostedChannel, recent: Replay) -> None:
        for event in recent.events:
            hosted.ring.push(event)
        last = recent.events[-1].offset if recent.events else recent.head.offset
        hosted.sequencer = Sequencer(Position(recent.head.epoch, last))
        early, hosted.early = hosted.early, []
        for event in early:
            self._accept(event)
        if hosted.missed_hints or hosted.position.offset < recent.head.offset:
            self._heal(hosted)

    def _accept(self, event: Event) -> None:
        hosted = self._hosted.get(event.channel)
        if hosted is None:
            return
        if hosted.sequencer is None:
            hosted.keep_early(event)
            return
        match hosted.sequencer.accept(event):
            case Ready(events):
                self._deliver(hosted, events)
            case Gap() | OtherEpoch():
                self._heal(hosted)
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

    def _heal(self, hosted: HostedChannel) -> None:
        if hosted.sequencer is None:
            hosted.missed_hints = True  # its opening may have looked at the log before
            return
        self._unwell[hosted.name] = None
        if self._healers < HEALERS:
            self._healers += 1
            self._tasks.create_task(self._healer())

    async def _healer(self) -> None:
        """Heal channels while there are any."""
        try:
            while self._unwell:
                name = next(iter(self._unwell))
                del self._unwell[name]
                try:
                    await self._heal_one(name)
                except MaruError as error:
                    self._note_healing(failure=error)
                    self._unwell[name] = None
                    await asyncio.sleep(HEAL_RETRY_S)
                else:
                    self._note_healing(failure=None)
        finally:
            self._healers -= 1

    def _note_healing(self, failure: MaruError | None) -> None:
        """Log that healing has come to a halt, or goes on: once a change, however many channels wait."""
        if (failure is not None) != self._halted:
            self._halted = failure is not None
            _log.warning("healing.halted" if failure else "healing.resumed", code=failure and failure.code)

    async def _heal_one(self, name: ChannelName) -> None:
        hosted = self._hosted.get(name)
        if hosted is None or hosted.sequencer is None:
            return  # let go since it fell ill; a new opening reads the log anyway
        if not await self._level(hosted):
            self._unwell[name] = None

    async def _level(self, hosted: HostedChannel) -> bool:
        """Bring the channel to the log's head; False where it is still behind after `HEAL_READS` reads."""
        assert hosted.sequencer is not None
        level = False
        for _ in range(HEAL_READS):
            head = await self._catch_up(hosted)
            level = hosted.position.epoch == head.epoch and hosted.position.offset >= head.offset
            if level and not hosted.sequencer.has_gap:
                return True
        if level:
            # What waits lies beyond the log's head, read after it came: no event of this log.
            hosted.sequencer.drop_held()
        return level

    async def _catch_up(self, hosted: HostedChannel) -> Position:
        """Read the log once from the channel's position on, absorb what it says, return its head."""
        before = hosted.position
        replay = await self._log.read(hosted.name, before.offset, REPLAY_LIMIT)
        # Where it was let go meanwhile, who is in the channel now has it from its next life.
        if self._hosted.get(hosted.name) is hosted:
            self._absorb(hosted, before, replay)
        return replay.head

    def _absorb(self, hosted: HostedChannel, before: Position, replay: Replay) -> None:
        """Deliver what the log has beyond the position, or tell the members that they have lost track.

        `before` is the position at which the read began: hints may have moved it on since, and another read may have
        moved it to another log, of which this answer knows nothing.
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
            if missing:  # else hints brought them all while the log was read
                self._metrics.gap_healed()
            self._deliver(hosted, missing)
        elif replay.floor > hosted.position.offset:
            self._restart(hosted, replay.head, NotResumable.EXPIRED)

    def _restart(self, hosted: HostedChannel, head: Position, reason: NotResumable) -> None:
        assert hosted.sequencer is not None
        hosted.sequencer.reset(head)
        hosted.ring.clear()
        _log.warning("channel.restarted", channel=hosted.name, reason=reason.value, offset=head.offset)
        for session in self._membership.members(hosted.name):
            self._transport.push(session, ChannelResumed(hosted.name, head, reason, ()))
