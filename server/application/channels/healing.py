"""Healing: whatever the hints did not bring is read from the log, for a few channels at once."""

import asyncio
from collections.abc import Callable
from zlib import crc32

import structlog

from server.application.channels.hosting import HostedChannel, Hosting
from server.application.channels.quarantine import Quarantine
from server.application.channels.repair import GAP_S, Repair
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded

REPAIRS = 16
"""Channels that are repaired at once: enough to hide the log's latency, few enough to leave it to the senders."""

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
        hosting: Hosting,
        repair: Repair,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        quarantine: Quarantine,
    ) -> None:
        self._hosting = hosting
        self._repair = repair
        self._tasks = tasks
        self._clock = clock
        self._quarantine = quarantine
        # Channels that wait to be repaired, in order, with the time that hints on their way have to arrive.
        self._stale: dict[ChannelName, float] = {}
        self._workers = 0  # tasks that repair channels now
        # Channels with a gap whose hint may still come: when its time is over, on the loop's clock, and the position
        # before the gap. In the order of the times.
        self._gaps: dict[ChannelName, tuple[float, int]] = {}
        self._watching = False  # whether a task waits for the gaps
        self._repaired = 0  # repairs that did not fail, of all channels
        self._failed: dict[ChannelName, int] = {}  # channels whose last repair failed, with `_repaired` at that time
        self._halted = False  # whether the last read of the log failed

    def mark_stale(self, channel: ChannelName, grace_s: float = 0.0) -> None:
        """Repair the channel soon: the log may have events that the channel has not. If none is known to be missing,
        `grace_s` is for the hints of new events."""
        opening = self._hosting.opening(channel)
        if opening is not None:
            opening.missed_hints = True  # the opening may have read the log before this moment
            return
        if self._quarantine.holds(channel) or self._repair.joins(channel):
            return  # is repaired when its time is over, or is being repaired
        self._stale[channel] = min(grace_s, self._stale.get(channel, grace_s))
        if self._workers < REPAIRS:
            self._workers += 1
            self._tasks.create_task(self._repair_worker())

    def mark_gap(self, hosted: HostedChannel) -> None:
        """Repair the channel unless the hint that is missing comes within `GAP_S`."""
        if hosted.name not in self._gaps:
            self._gaps[hosted.name] = asyncio.get_running_loop().time() + GAP_S, hosted.position.offset
            if not self._watching:
                self._watching = True
                self._tasks.create_task(self._watch_gaps())

    def doubt_all(self) -> None:
        """Repair every hosted channel soon. Until then no hint is delivered: the log may be another than before."""
        for channel in self._hosting.channels():
            hosted = self._hosting.channel(channel)
            if hosted is not None:
                hosted.doubts += 1
            self.mark_stale(channel)

    async def compare(self) -> None:
        """Compare every hosted channel with the log once per `COMPARE_S`, spread over it, until cancelled: a lost hint
        is found even if no other follows it."""
        part, due = 0, self._clock()
        while True:
            # By name, not by place in a list: so no channel moves to a later part when others come and go.
            channels = [name for name in self._hosting.channels() if crc32(name.encode()) % COMPARE_PARTS == part]
            for channel in await self._repair.suspects(channels):
                self.mark_stale(channel, GAP_S)
            part, due = (part + 1) % COMPARE_PARTS, due + COMPARE_S / COMPARE_PARTS
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def refresh(self, hosted: HostedChannel) -> None:
        """Compare the channel with the log now, and deliver missing events. Raises `Unavailable`, and `Overloaded` if
        too many are missing to let the caller wait for them."""
        at_head = False
        try:
            at_head = await self._repair.to_head(hosted, GAP_S)
        finally:
            if not at_head:  # also if the caller gives up
                self.mark_stale(hosted.name)
        if not at_head:
            raise Overloaded(f"'{hosted.name}' is far behind the log here, and is catching up")

    async def _repair_worker(self) -> None:
        """Repair channels while there are any."""
        try:
            while self._stale:
                channel, grace_s = next(iter(self._stale.items()))
                del self._stale[channel]
                try:
                    await self._repair_once(channel, grace_s)
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

    async def _watch_gaps(self) -> None:
        """Repair the channels whose gaps have lasted for `GAP_S`, until there are no gaps."""
        try:
            while self._gaps:
                channel, (due, before) = next(iter(self._gaps.items()))
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                del self._gaps[channel]
                hosted = self._hosting.channel(channel)
                if hosted is None or not hosted.sequencer.has_gap:
                    continue
                if hosted.position.offset > before:
                    self.mark_gap(hosted)  # that gap is filled; this is a later gap
                else:
                    self.mark_stale(channel)
        finally:
            self._watching = False

    async def _repair_once(self, channel: ChannelName, grace_s: float) -> None:
        hosted = self._hosting.channel(channel)
        if hosted is None:
            return  # the channel was released after it was marked stale; reopening reads the log
        if await self._repair.to_head(hosted, grace_s):
            self._quarantine.release(channel)
        else:
            self._stale[channel] = 0.0

    async def _put_off(self, channel: ChannelName, error: MaruError) -> None:
        """Queue a channel again whose repair failed. If the log has answered for others since the channel failed last,
        it is the channel and not the log that is out of order."""
        repaired = self._failed.pop(channel, self._repaired)
        if repaired < self._repaired or self._quarantine.remembers(channel):
            self._quarantine.add(channel, error)
            return
        self._failed[channel] = self._repaired
        self._note(failure=error)
        self._stale[channel] = 0.0
        await asyncio.sleep(RETRY_S)

    def _note(self, failure: MaruError | None) -> None:
        """Log that healing has come to a halt, or goes on: a line for each change, however many channels wait."""
        if (failure is not None) != self._halted:
            self._halted = failure is not None
            _log.warning("healing.halted" if failure else "healing.resumed", code=failure and failure.code)
