"""The erasures of a deployment: asked for here, kept in the store, worked on by a replica that lives."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from server.application.messages.erasing import HeldUp, Lost, Work
from server.domain.erasures import Erasure, erasure_id
from server.domain.errors import MaruError
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.ports.broadcast import Broadcast
from server.ports.erasures import Erasures
from server.ports.message_log import MessageLog
from server.ports.replicas import Replicas

LOOK_S = 10.0
"""How often each replica looks for erasures that nobody works on."""

RETRY_S = 1.0
"""After a look that failed."""

AT_ONCE = 2
"""Erasures that a replica works on at the same time."""

POLL_S = 0.05
POLL_CAP_S = 0.5
"""How often a request looks whether its erasure is done, if another replica does it."""

PAUSE_S = 10.0
PAUSE_CAP_S = 600.0
"""An erasure that can't go on, because of a channel or by a fault of the server, is tried again after this time, which
doubles: others have its place meanwhile."""

_log = structlog.get_logger("maru.erasures")


@dataclass(frozen=True, slots=True)
class Progress:
    """How many messages are erased, and whether that is all."""

    erased: int
    done: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Until when an erasure is left alone, and how long that is."""

    until: float
    seconds: float


class Eraser:
    """Takes erasures in, and works on them. `rate` is that of a channel's events; `new_id` makes random ids."""

    def __init__(  # noqa: PLR0913  # all that an erasure depends on
        self,
        log: MessageLog,
        broadcast: Broadcast,
        erasures: Erasures,
        replicas: Replicas,
        *,
        rate: Rate | None,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished = 0  # at the last look
        self._log, self._broadcast, self._erasures, self._replicas = log, broadcast, erasures, replicas
        self._rate, self._now_ms, self._new_id, self._clock = rate, now_ms, new_id, clock
        self._work: dict[str, Work] = {}  # under way here
        self._pauses: dict[str, Pause] = {}  # of erasures that could not go on
        self._due = asyncio.Event()  # something is to be done
        self._erased = 0  # messages, by work that has ended

    @property
    def erased(self) -> int:
        """Messages that this replica has erased since its start."""
        return self._erased + sum(work.erased for work in self._work.values())

    async def erase(self, user: UserId, key: str | None, wait_s: float, stopping: Callable[[], bool]) -> Progress:
        """Erase what the user wrote until now. Return when all of it is gone, or the time is over, or the server stops;
        then the work goes on. The same `key` within a day is the same erasure; without a key, a request joins an
        erasure of the user that is under way. Raises `Unavailable`, `Overloaded`."""
        erasure = await self._begin(user, key)
        self._due.set()
        ends_at, pause = self._clock() + wait_s, POLL_S
        while True:
            kept = await self._erasures.find(erasure.id)
            if kept is None or kept.done_at is not None:
                return Progress(erasure.erased if kept is None else kept.erased, done=True)
            work = self._work.get(erasure.id)
            left = ends_at - self._clock()
            if left <= 0 or stopping():
                return Progress(kept.erased if work is None else work.erased, done=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await (asyncio.Event() if work is None else work.ended).wait()
            pause = min(2 * pause, POLL_CAP_S)

    async def run(self) -> None:
        """Work on erasures that nobody else works on, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._due.clear()
                pause = RETRY_S
                with suppress(MaruError):
                    await self._take(tasks)
                    pause = LOOK_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._due.wait()

    async def _begin(self, user: UserId, key: str | None) -> Erasure:
        """Keep the request. From here on it is not forgotten."""
        now = self._now_ms()
        if key is not None:
            return await self._erasures.add(Erasure(erasure_id(user, key), user, now, now))
        while True:
            under_way = [kept for kept in await self._erasures.all() if kept.user == user and kept.done_at is None]
            if not under_way:
                return await self._erasures.add(Erasure(self._new_id(), user, now, now))
            asked = replace(under_way[0], asked_at=max(now, under_way[0].asked_at))
            if await self._erasures.replace(under_way[0], asked):
                return asked

    async def _take(self, tasks: asyncio.TaskGroup) -> None:
        """Begin the work on erasures, of each user the first."""
        kept = [erasure for erasure in await self._erasures.all() if erasure.done_at is None]
        self.unfinished = len(kept)
        if not kept:
            return
        living = {row.id for row in await self._replicas.living()} - {self._replicas.id}
        now = self._clock()
        firsts = dict[UserId, Erasure]()
        for erasure in kept:
            firsts.setdefault(erasure.user, erasure)
        self._pauses = {each.id: self._pauses[each.id] for each in kept if each.id in self._pauses}
        for erasure in firsts.values():
            paused = self._pauses.get(erasure.id)
            free = erasure.id not in self._work and (paused is None or paused.until <= now)
            if free and erasure.leader not in living and len(self._work) < AT_ONCE:
                led = replace(erasure, leader=self._replicas.id)
                if await self._erasures.replace(erasure, led):
                    self._work[led.id] = work = self._made(led)
                    tasks.create_task(self._run(led.id, work))

    def _made(self, erasure: Erasure) -> Work:
        return Work(
            erasure,
            self._log,
            self._broadcast,
            self._erasures,
            rate=self._rate,
            now_ms=self._now_ms,
            clock=self._clock,
        )

    async def _run(self, id: str, work: Work) -> None:
        began = work.erased
        _log.info("erasure.began", id=id, erased=began)
        try:
            await work.run()
        except Lost:
            _log.info("erasure.elsewhere", id=id)
        except HeldUp as held_up:
            _log.warning("erasure.held_up", id=id, channel=held_up.channel, pause_s=self._pause(id))
        except Exception:  # noqa: BLE001  # our own fault: the server goes on, and tries again
            _log.exception("erasure.failed", id=id, pause_s=self._pause(id))
        else:
            _log.info("erasure.done", id=id, erased=work.erased)
        finally:
            del self._work[id]
            self._erased += work.erased - began
            work.ended.set()
            self._due.set()

    def _pause(self, id: str) -> float:
        """Leave an erasure alone for a time, which is returned."""
        last = self._pauses.get(id)
        seconds = PAUSE_S if last is None else min(2 * last.seconds, PAUSE_CAP_S)
        self._pauses[id] = Pause(self._clock() + seconds, seconds)
        return seconds
