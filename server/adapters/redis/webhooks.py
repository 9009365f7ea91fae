"""Webhooks in Redis: what a channel owes lies in its partition, and is written by the script that appends."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from server.adapters.redis import keys, ways
from server.adapters.redis.endpoints import OPEN, STARTING, Endpoint, Endpoints, parse
from server.adapters.redis.letters import Letters
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt, covers
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import DEAD_LETTERS, LEAD_S, Webhooks

REFRESH_MS = 3_600_000
"""How late it is noted that an endpoint was opened again."""

SCANNED = 200
"""Channels that are looked at in a step while an endpoint begins at the start."""

T = TypeVar("T")

_log = structlog.get_logger("maru.webhooks")


class RedisWebhooks(Webhooks):
    """The debts of a log, over a connection of their own, which `aclose` closes. `url`, `master` and `wait_replicas`
    are those of the log."""

    def __init__(
        self,
        log: RedisMessageLog,
        url: str,
        master: Master | None = None,
        *,
        prefix: str = keys.PREFIX,
        wait_replicas: int = 0,
        dead_letters: int = DEAD_LETTERS,
    ) -> None:
        self._log, self._prefix = log, prefix
        self._pipeline = ways.pipeline(url, master or Master(), wait_replicas)
        self._endpoints = Endpoints(self._pipeline, prefix)
        self._letters = Letters(self._pipeline, prefix, dead_letters)
        self._owe, self._deliver = (self._of_channel(name) for name in ("owe", "deliver"))
        self._counts, self._lead = (Script(self._pipeline, name) for name in ("counts", "lead"))

    def _of_channel(self, name: str) -> Script:
        return Script(self._pipeline, "channel", "losses", name)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._pipeline.aclose()

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        """Write the endpoint into the list of each partition."""
        joined, now = ",".join(patterns) or "*", await self._time_ms()
        texts = await _all(self._endpoints.read(partition) for partition in keys.PARTITIONS)
        is_new = False

        def opened(endpoints: dict[str, Endpoint]) -> None:
            nonlocal is_new
            before = endpoints.get(endpoint)
            if before is None:
                is_new = True
                endpoints[endpoint] = Endpoint(now, STARTING if from_start else OPEN, joined)
            elif before.patterns != joined or now - before.opened > REFRESH_MS:
                endpoints[endpoint] = Endpoint(now, before.phase, joined)

        lists = dict(zip(keys.PARTITIONS, texts, strict=True))
        await _all(self._endpoints.change(partition, opened, text) for partition, text in lists.items())
        for partition, text in lists.items():
            before = parse(text).get(endpoint)
            if from_start if before is None else before.phase == STARTING:
                await self._begin(endpoint, patterns, partition)
        return is_new

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        return await self._led(endpoint, replica, round(LEAD_S * 1_000))

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        await self._led(endpoint, replica, 0)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        """Return the debts of the next partitions that have any; `after` is the number of a partition, and the cursor
        in it."""
        first, begun = (int(word) for word in (after or "0:0").split(":"))
        counts = await self._owed_by(endpoint)
        left = [number for number in sorted(counts) if number >= first]
        chosen, planned = list[int](), 0
        for number in left:
            chosen.append(number)
            planned += counts[number]
            if planned >= limit:
                break
        scans = [self._scan(endpoint, number, begun if number == first else 0, limit) for number in chosen]
        debts = list[Debt]()
        for number, (cursor, fields) in zip(chosen, await _all(scans), strict=True):
            debts += _readable(fields)
            if int(cursor):
                return debts, f"{number}:{int(cursor)}"
        return debts, f"{chosen[-1] + 1}:0" if len(chosen) < len(left) else None

    async def owed(self, endpoint: str) -> int:
        return sum((await self._owed_by(endpoint)).values())

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        places = (delivered.epoch, delivered.offset, to.epoch, to.offset)
        answer = await self._deliver(self._keys(endpoint, channel), *self._log.opening(channel), *places)
        return bool(answer == b"1")

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        """Keep the letter, then move the debt: they lie in two places of a cluster."""
        id = await self._letters.add(endpoint, letter)
        moved = await self.deliver(endpoint, letter.channel, delivered, to)
        if not moved:
            await self._letters.remove(endpoint, id)
        return moved

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        return await self._letters.page(endpoint, after, limit)

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        return await self._letters.take(endpoint, ids)

    async def _begin(self, endpoint: str, patterns: Sequence[str], partition: str) -> None:
        """Owe all that the partition keeps; then the endpoint is open as any other. Appends owe the same meanwhile, so
        it may be done again."""
        cursor, idle = 0, keys.idle(partition, self._prefix)
        while True:
            answer, found = await self._pipeline.ask("ZSCAN", idle, cursor, "COUNT", SCANNED)
            names = [ChannelName(name.decode()) for name in found[::2]]
            await _all(
                self._owe(self._keys(endpoint, name), *self._log.opening(name))
                for name in names
                if covers(patterns, name)
            )
            cursor = int(answer)
            if not cursor:
                break

        def started(endpoints: dict[str, Endpoint]) -> None:
            if (before := endpoints.get(endpoint)) is not None:
                endpoints[endpoint] = Endpoint(before.opened, OPEN, before.patterns)

        await self._endpoints.change(partition, started, await self._endpoints.read(partition))

    async def _led(self, endpoint: str, replica: ReplicaId, ms: int) -> bool:
        return bool(await self._lead((keys.lead(endpoint, self._prefix),), replica, ms))

    async def _owed_by(self, endpoint: str) -> dict[int, int]:
        """Return how many channels of each partition owe something, by the partition's number."""
        names = tuple(keys.debts(partition, endpoint, self._prefix) for partition in keys.PARTITIONS)
        numbers, groups = {name: number for number, name in enumerate(names)}, self._pipeline.together(names)
        owed = dict[int, int]()
        for group, found in zip(groups, await _all(map(self._counts, groups)), strict=True):
            owed |= {numbers[group[place - 1]]: count for place, count in zip(found[::2], found[1::2], strict=True)}
        return owed

    async def _scan(self, endpoint: str, number: int, cursor: int, limit: int) -> Any:
        key = keys.debts(keys.PARTITIONS[number], endpoint, self._prefix)
        return await self._pipeline.ask("HSCAN", key, cursor, "COUNT", limit)

    def _keys(self, endpoint: str, channel: ChannelName) -> tuple[str, ...]:
        return (*self._log.keys(channel), keys.debts(keys.partition(channel), endpoint, self._prefix))

    async def _time_ms(self) -> int:
        seconds, micros = await self._pipeline.ask("TIME")
        return int(seconds) * 1_000 + int(micros) // 1_000


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all calls, also if one fails."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [_result(each) for each in results]


def _result(outcome: T | BaseException) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _readable(fields: Sequence[bytes]) -> Iterable[Debt]:
    """Return debts; what can't be read is passed over: the channel's next append writes another."""
    for name, packed in zip(fields[::2], fields[1::2], strict=True):
        try:
            epoch, offset, *next_place = packed.decode().split(" ")
            begins = Position(next_place[0], int(next_place[1])) if next_place else None
            yield Debt(ChannelName(name.decode()), Position(epoch, int(offset)), begins)
        except (IndexError, ValueError):
            _log.warning("webhooks.debt_unreadable", channel=name.decode(errors="replace"))
