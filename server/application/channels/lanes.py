"""Lanes: a channel with many members, or a flood of events, keeps the hints of no other channel waiting."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from server.domain.channels import ChannelName
from server.domain.events import Event

EVENTS_PER_LANE = 32
"""Events of a channel that are delivered before everything delivered so far has been written: a client's share of them
goes out in a single write."""

WAITING_LIMIT = 1_024
"""Hints that wait for their channels' events to be written, of all channels. Over it the listener waits, too."""


class Lanes:
    """Passes hints on to `accept`, for each channel in their order.

    After `EVENTS_PER_LANE` hints a channel's further hints wait until `settled` returns. `tasks` owns that wait. State
    changes between awaits.
    """

    def __init__(
        self, accept: Callable[[Event], None], settled: Callable[[], Awaitable[None]], tasks: asyncio.TaskGroup
    ) -> None:
        self._accept = accept
        self._settled = settled
        self._tasks = tasks
        self._passed: dict[ChannelName, int] = {}  # hints passed on since everything was written
        self._waiting: dict[ChannelName, deque[Event]] = {}  # channels with hints that wait; no queue is empty
        self._count = 0  # hints that wait
        self._settling: asyncio.Task[None] | None = None  # waits until everything is written
        self._passed_on = asyncio.Event()  # set when hints that waited were passed on

    def take(self, event: Event) -> None:
        """Pass a hint on now, or when its channel's earlier events have been written."""
        channel = event.channel
        passed = self._passed.get(channel, 0)
        if passed < EVENTS_PER_LANE and channel not in self._waiting:
            self._passed[channel] = passed + 1
            self._accept(event)
        else:
            self._waiting.setdefault(channel, deque()).append(event)
            self._count += 1

    async def pause(self) -> None:
        """Let what was delivered be written. Give the other tasks a turn and, if too many hints wait, wait for them.
        Called after every few hints."""
        if self._settling is None:
            self._settling = self._tasks.create_task(self._settle())
        await asyncio.sleep(0)
        while self._count >= WAITING_LIMIT:
            self._passed_on.clear()
            await self._passed_on.wait()

    async def _settle(self) -> None:
        """Wait until everything is written, then pass on the hints that wait, until none waits."""
        await self._settled()
        self._passed.clear()
        while self._waiting:
            for channel in tuple(self._waiting):
                self._pass_on(channel)
                await asyncio.sleep(0)
            await self._settled()
            self._passed.clear()
        self._settling = None

    def _pass_on(self, channel: ChannelName) -> None:
        lane = self._waiting[channel]
        share = min(len(lane), EVENTS_PER_LANE)
        self._passed[channel] = self._passed.get(channel, 0) + share
        self._count -= share
        for _ in range(share):
            self._accept(lane.popleft())
        self._passed_on.set()
        if not lane:
            del self._waiting[channel]
