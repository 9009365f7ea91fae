"""Erasing all messages of a user: in small steps, beside everybody else's work, and through crashes.

Each message is deleted as its author would delete it: an event in the log, which members see. A step is noted before
it begins. If the process is killed in a step, the rest of the step is deleted later, and the step counts once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from server.application.messages.authored import PAGE, Found, Place, half, is_due
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.erasures import Erasure, Step
from server.domain.errors import MaruError, NotFound
from server.domain.gcra import Rate
from server.domain.messages import Message, MessageId
from server.ports.broadcast import Broadcast
from server.ports.erasures import Erasures
from server.ports.message_log import MessageLog

STEP = 32
"""Messages of a step: some milliseconds of the log's time."""

REST_CAP_S = 0.5
"""A pause after a step takes as long as the step, but no longer than this: the log is others' half of the time."""

RETRY_S = 0.5
"""Between two tries of what the store has refused."""

TRIES = 10
"""Of a deletion. After that its channel waits."""

OPEN_LIMIT = 32
"""Channels that are worked on in turn: while the rate of one is used up, others go on. Those that fail do not count."""

PATIENCE = 3
"""Failures of a channel, one after the other, after which nothing is expected of it soon."""


class Lost(Exception):
    """Another replica does the work now."""


class HeldUp(Exception):
    """All that is left to be done is in channels that can't be read or written."""

    def __init__(self, channel: ChannelName) -> None:
        super().__init__(channel)
        self.channel = channel


class Work:
    """Brings an erasure to its end. `erasure` names this replica as its leader; `rate` is that of a channel."""

    def __init__(
        self,
        erasure: Erasure,
        log: MessageLog,
        broadcast: Broadcast,
        erasures: Erasures,
        *,
        rate: Rate | None,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended = asyncio.Event()  # nothing more is done here
        self._state = erasure  # as it was last written, or read
        self._log, self._broadcast, self._erasures = log, broadcast, erasures
        self._now_ms, self._clock, self._paced = now_ms, clock, half(rate)
        self._gained = 0  # messages of the present step that are gone
        self._names: deque[ChannelName] = deque()  # to be looked through
        self._cursor: str | None = None  # of further names
        self._named = False  # all names are there

    @property
    def erased(self) -> int:
        """Messages that are erased so far."""
        return self._state.erased + self._gained

    async def run(self) -> None:
        """Work until it is done. Raises `Lost`, `HeldUp`. May be cancelled at any time, and go on elsewhere."""
        if self._state.step is not None:
            await self._resume(self._state.step)
        while True:
            asked_at = self._state.asked_at
            await self._scan()
            if await self._save(None, done_if=asked_at):
                return

    async def _resume(self, step: Step) -> None:
        """Delete the rest of a step that was begun. Raises `HeldUp`."""
        for _ in range(PATIENCE):
            with suppress(MaruError):
                page = await self._log.history(step.channel, step.until + 1, step.after, PAGE)
                rest = [each.id for each in page.messages if isinstance(each, Message) and is_due(each, self._state)]
                if await self._delete_all(step.channel, rest) == len(rest):
                    self._gained = step.planned
                    return
            await asyncio.sleep(RETRY_S)
        raise HeldUp(step.channel)

    async def _scan(self) -> None:
        """Look through all channels, once. Raises `HeldUp`: then the rest of a step, if any, is for the next scan."""
        self._names, self._cursor, self._named = deque(), None, False
        places = deque[Place]()
        while True:
            await self._open(places)
            if not places:
                return
            now = self._clock()
            place = next((each for each in places if each.ready_at <= now), None)
            if place is None:
                if all(each.failures >= PATIENCE for each in places):
                    await self._save(None)
                    raise HeldUp(places[0].channel)
                await asyncio.sleep(min(each.ready_at for each in places) - now)
                continue
            places.remove(place)
            if not await self._work_on(place):
                places.append(place)
            await asyncio.sleep(min(self._clock() - now, REST_CAP_S))

    async def _open(self, places: deque[Place]) -> None:
        """Fill up the channels that are worked on."""
        while sum(each.failures < PATIENCE for each in places) < OPEN_LIMIT:
            if self._names:
                places.append(Place(self._names.popleft(), self._paced))
            elif self._named:
                return
            else:
                try:
                    names, self._cursor = await self._erasures.channels(self._state.user, self._cursor)
                except MaruError:
                    await asyncio.sleep(RETRY_S)
                else:
                    self._names.extend(names)
                    self._named = self._cursor is None

    async def _work_on(self, place: Place) -> bool:
        """Do a step in a channel. Return whether the channel is done."""
        try:
            found = await place.look(self._log, self._state, STEP, self._clock())
        except MaruError:
            place.postpone(self._clock())
            return False
        if found is None:
            return False
        return await self._do(place, found) and found.ended

    async def _do(self, place: Place, found: Found) -> bool:
        """Delete the messages of a step. Return whether all are gone."""
        if found.ids:
            await self._save(found.step)
            self._gained = await self._delete_all(place.channel, found.ids)
            if self._gained < len(found.ids):
                place.postpone(self._clock(), back_to=found.step.after)
                return False
        place.failures = 0
        return True

    async def _delete_all(self, channel: ChannelName, ids: list[MessageId]) -> int:
        """Delete messages; return how many are gone."""
        return sum(await asyncio.gather(*(self._delete(channel, id) for id in ids)))

    async def _delete(self, channel: ChannelName, id: MessageId) -> bool:
        for _ in range(TRIES):
            try:
                appended = await self._log.append(Deletion(channel, id, self._now_ms()))
            except NotFound:
                return True  # older than the retention by now
            except MaruError as error:
                await asyncio.sleep(max(RETRY_S, (error.retry_after_ms or 0) / 1000))
            else:
                if not appended.hinted:
                    with suppress(MaruError):  # hubs find a lost hint by comparing
                        await self._broadcast.publish(appended.event)
                return True
        return False

    async def _save(self, step: Step | None, done_if: int | None = None) -> bool:
        """Note the step, and that the step before it is over. With `done_if`, note the end instead, if nobody has asked
        for more since that time; return whether that is so. Raises `Lost`."""
        while True:
            if done_if is not None and self._state.asked_at != done_if:
                return False
            done_at = None if done_if is None else self._now_ms()
            new = replace(self._state, erased=self.erased, step=step, done_at=done_at)
            try:
                if await self._erasures.replace(self._state, new) or await self._is_kept(new):
                    self._state, self._gained = new, 0
                    return done_if is not None
            except MaruError:
                await asyncio.sleep(RETRY_S)

    async def _is_kept(self, new: Erasure) -> bool:
        """Return whether the store has it: an answer may have been lost. If only a further request was noted meanwhile,
        take that over. Raises `Lost`."""
        kept = await self._erasures.find(new.id)
        if kept == new:
            return True
        if kept is None or replace(kept, asked_at=self._state.asked_at) != self._state:
            raise Lost
        self._state = kept
        return False
