"""Removes in the background what the log in Redis does not keep any more, in steps that nobody notices.

Every replica sweeps, a partition after another from a random one. A step is a script call for a single channel, so
Redis serves others between.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import structlog
from redis.exceptions import RedisError

from server.adapters.clock import now_ms
from server.adapters.redis import keys
from server.adapters.redis.endpoints import Endpoints
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.errors import MaruError

PAUSE_S = 1.0
"""Between two turns. Some 100 channels a turn: a million channels take some hours."""

BUSY_PAUSE_S = 0.02
"""Between two turns while channels have more to remove."""

CHANNELS = 100
"""Of a turn, about."""

REMOVED = 128
"""Events that a step removes, at most: 1 to 2 ms of Redis."""

JUMP_MS = 300_000
"""By so much Redis' clock may move against this process' monotonic clock."""

DISTRUST_S = 3_600.0
"""While Redis' clock is in doubt this process lets nothing age for so long: somebody can set it right."""

SILENCE_MS = 3_600_000
"""If Redis' clock says at the start that nobody has written for longer than this, and than a tenth of the age that is
kept, the clock is in doubt."""

_log = structlog.get_logger("maru.log")


class Tended(NamedTuple):
    """What tending did to a channel. `more`: there is more to remove. `agreed`: Redis' clock agrees with this
    process'; if not, nothing aged."""

    removed: int
    more: bool
    agreed: bool


class Sweep:
    """Tends every channel. `tend` removes some events of a channel; `run` works until it is cancelled. `answered` is
    called when Redis has answered."""

    def __init__(
        self,
        pipeline: Pipeline,
        tend: Callable[[ChannelName, int], Awaitable[Tended]],
        prefix: str,
        max_age_ms: int,
        answered: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline, self._tend, self._prefix, self._monotonic = pipeline, tend, prefix, monotonic
        self._answered = answered
        self._silence_ms = max(SILENCE_MS, max_age_ms // 10)
        self._authors = Script(pipeline, "authors")
        self._endpoints = Endpoints(pipeline, prefix)
        self._partition = secrets.randbelow(len(keys.PARTITIONS))
        self._cursors: dict[str, int] = {}  # of the partition's indexes that are not read to the end
        self._busy: set[ChannelName] = set()  # they have more to remove
        self._clock: float | None = None  # ms by which Redis' clock is before the monotonic clock
        self._distrusted_until = 0.0  # by the monotonic clock
        self._agreed = True  # the clocks, at the last look
        self._prepared = False
        self.removed = 0  # events
        self.refusals = 0  # turns in which nothing was let age, because clocks disagree

    @property
    def trusted(self) -> bool:
        """Redis' clock is not in doubt."""
        return self._monotonic() >= self._distrusted_until

    async def run(self) -> None:
        """Sweep until cancelled. An outage of Redis is waited for. Nothing ages before the first look at the clock."""
        self._distrusted_until, judged = math.inf, False
        while True:
            try:
                if not judged:
                    await self._judge_start()
                    judged = True
                await self.turn()
            except (MaruError, RedisError) as error:
                _log.debug("message_log.sweep_waits", error=str(error))
            await asyncio.sleep(BUSY_PAUSE_S if self._busy else PAUSE_S)

    async def turn(self) -> None:
        """Tend the channels that have more to remove, or the next channels."""
        if not self._prepared:
            await self._prepare()
        await self._watch_clock()
        await self._all(sorted(self._busy) or await self._next())

    async def sweep(self, partition: str) -> None:
        """Tend every channel of a partition until nothing is left to do."""
        self._partition = keys.PARTITIONS.index(partition)
        self._cursors = {}
        await self.turn()
        while self._busy or self._cursors:
            await self.turn()

    async def _all(self, channels: Sequence[ChannelName]) -> None:
        results = await asyncio.gather(*(self._tend(channel, REMOVED) for channel in channels), return_exceptions=True)
        self._busy = set()
        for channel, result in zip(channels, results, strict=True):
            if isinstance(result, Tended):
                self.removed += result.removed
                self._judge(result.agreed)
                if result.more:
                    self._busy.add(channel)
            elif not isinstance(result, MaruError):  # a channel that can't be tended must not stop the others
                _log.error("message_log.not_tended", channel=channel, error=type(result).__name__)

    async def _next(self) -> Sequence[ChannelName]:
        """Return the next channels of the index, and check as many members of the index of authors."""
        partition = keys.PARTITIONS[self._partition]
        begun = bool(self._cursors)
        idle, authors = keys.idle(partition, self._prefix), keys.authors(partition, self._prefix)
        members = await self._scan(authors, begun)
        if members:
            await self._check_authors(partition, members)
        channels = await self._scan(idle, begun)
        if not self._cursors:
            await self._forget_endpoints(partition)
            self._partition = (self._partition + 1) % len(keys.PARTITIONS)
        return [ChannelName(channel.decode()) for channel in channels]

    async def _scan(self, name: str, begun: bool) -> Sequence[bytes]:
        if begun and name not in self._cursors:
            return []
        cursor, found = await self._pipeline.execute("ZSCAN", name, self._cursors.pop(name, 0), "COUNT", CHANNELS)
        if int(cursor):
            self._cursors[name] = int(cursor)
        members: Sequence[bytes] = found[::2]
        return members

    async def _check_authors(self, partition: str, members: Sequence[bytes]) -> None:
        names, arguments = [keys.authors(partition, self._prefix), keys.idle(partition, self._prefix)], list[Any]()
        for member in members:
            channel = keys.author_channel(member.decode())
            names.append(keys.meta(channel, self._prefix))
            arguments += (member, channel)
        await self._authors(tuple(names), *arguments)

    async def _forget_endpoints(self, partition: str) -> None:
        """Forget endpoints of webhooks that nobody opens any more, unless a clock is in doubt."""
        now = self._monotonic() * 1000 + (self._clock or 0)
        if self.trusted and self._agreed and abs(now - now_ms()) < JUMP_MS:
            for endpoint in await self._endpoints.forget_old(partition, now):
                _log.info("webhooks.endpoint_forgotten", endpoint=endpoint, partition=partition)

    async def _prepare(self) -> None:
        """Give every partition its id, so that a full Redis can tell the epochs of channels without events."""
        stores = [keys.store(partition, self._prefix) for partition in keys.PARTITIONS]
        calls = (self._pipeline.execute("HSETNX", store, "id", secrets.token_hex(16)) for store in stores)
        await asyncio.gather(*calls, return_exceptions=True)
        self._prepared = True

    async def _judge_start(self) -> None:
        """Doubt Redis' clock if it says that the last write was very long ago: a machine may have started with a wrong
        clock, and its replicas with it."""
        indexes = [keys.idle(partition, self._prefix) for partition in keys.PARTITIONS]
        calls = (self._pipeline.execute("ZREVRANGE", index, 0, 0, "WITHSCORES") for index in indexes)
        written = [int(found[1]) for found in await asyncio.gather(*calls) if found]
        silent_ms = await self._time_ms() - max(written) if written else 0
        self._distrusted_until = 0.0
        if silent_ms > self._silence_ms:
            self._distrusted_until = self._monotonic() + DISTRUST_S
            _log.warning("message_log.clock_doubted", silent_s=round(silent_ms / 1000))

    async def _time_ms(self) -> float:
        seconds, micros = await self._pipeline.execute("TIME")
        self._answered()
        return int(seconds) * 1000 + int(micros) / 1000

    async def _watch_clock(self) -> None:
        ahead = await self._time_ms() - self._monotonic() * 1000
        if self._clock is not None and abs(ahead - self._clock) > JUMP_MS:
            self._distrusted_until = self._monotonic() + DISTRUST_S
            _log.warning("message_log.clock_jumped", by_s=round((ahead - self._clock) / 1000))
        self._clock = ahead

    def _judge(self, agreed: bool) -> None:
        self.refusals += not agreed
        if self._agreed and not agreed:
            _log.warning("message_log.clocks_disagree", problem="nothing ages: this clock or Redis' is minutes wrong")
        self._agreed = agreed
