"""The debts of the log in JetStream to endpoints of webhooks: told from its heads, so that no append writes a debt."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import orjson

from server.adapters.nats.letters import MAX_ID, Letters
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.places import Endpoint, Place, Places, owed
from server.adapters.nats.side import token
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt, covers
from server.domain.errors import BadRequest
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import DEAD_LETTERS, FORGOTTEN_S, LEAD_S, Webhooks

AT_ONCE = 32
"""Channels that are looked at together."""

CLEAN = 100_000
"""Channels that are remembered to owe an endpoint nothing; over this number all are looked at again."""


class NatsWebhooks(Webhooks):
    """The debts of a log. A look for debts passes over all channels: a call for each 256 of them, and two for each that
    was written to since it was found to owe nothing."""

    def __init__(self, log: NatsMessageLog, *, dead_letters: int = DEAD_LETTERS) -> None:
        self._log, self._side, self._link = log, log.side, log.streams.link
        self._places, self._letters = Places(log.side), Letters(log.side, dead_letters)
        self._clean: dict[tuple[str, ChannelName], int] = {}  # the channel's last sequence when it owed nothing

    async def open(self, endpoint: str, patterns: Sequence[str] = (), *, from_start: bool = False) -> bool:
        now = self._log.now_ms()
        async with self._link.answered():
            for old in await self._places.opened_before(now - round(FORGOTTEN_S * 1_000)):
                await self._forget(old)
            present = await self._places.endpoint(endpoint)
        if present is None:
            await self._begin(endpoint, patterns, from_start=from_start)
        elif tuple(present.patterns) != tuple(patterns):
            await self._change(endpoint, present, patterns)
        async with self._link.answered():
            await self._places.keep(endpoint, patterns, now)
        return present is None

    async def _begin(self, endpoint: str, patterns: Sequence[str], *, from_start: bool) -> None:
        async with self._link.answered():
            await self._forget(endpoint)
            channels = [each for each in await self._side.channels() if covers(patterns, each)]
        for start in range(0, len(channels), AT_ONCE):
            some = channels[start : start + AT_ONCE]
            await asyncio.gather(*(self._put(endpoint, each, from_start=from_start) for each in some))

    async def _put(self, endpoint: str, channel: ChannelName, *, from_start: bool) -> None:
        """Let an endpoint begin in a channel."""
        async with self._link.answered():
            if from_start:
                fold = await self._log.fold(channel)
                delivered = Position(fold.epoch, fold.floor)
            else:
                delivered, _ = await self._log.journal(channel).head()
            place = await self._places.of(endpoint, channel)
            if place.seq or place.delivered != delivered:
                await self._places.move(endpoint, channel, Place(delivered, None, place.seq))

    async def _change(self, endpoint: str, present: Endpoint, patterns: Sequence[str]) -> None:
        """Let other patterns cover the channels: some keep their debts, and owe nothing new; others begin."""
        self._clean.clear()
        async with self._link.answered():
            channels = await self._side.channels()
        for channel in channels:
            before, after = covers(present.patterns, channel), covers(patterns, channel)
            if before == after:
                continue
            async with self._link.answered():
                place = await self._places.of(endpoint, channel)
                head, start = await self._log.journal(channel).head()
                debt = owed(place, channel, head, start, present.patterns)
                delivered = head if debt is None else place.delivered
                until = None if after else head.offset
                await self._places.move(endpoint, channel, Place(delivered, until, place.seq))

    async def _forget(self, endpoint: str) -> None:
        await self._letters.forget(endpoint)
        await self._places.forget(endpoint)
        self._clean.clear()

    async def lead(self, endpoint: str, replica: ReplicaId) -> bool:
        now = self._log.now_ms()
        async with self._link.answered():
            kept = await self._side.last("lead", token(endpoint))
            leader, ends = (replica, now) if kept is None else orjson.loads(kept.data)
            if leader != replica and ends > now:
                return False
            lead = [replica, now + round(LEAD_S * 1_000)]
            return await self._side.put(lead, "lead", token(endpoint), after=0 if kept is None else kept.seq)

    async def hand_over(self, endpoint: str, replica: ReplicaId) -> None:
        async with self._link.answered():
            kept = await self._side.last("lead", token(endpoint))
            if kept is not None and orjson.loads(kept.data)[0] == replica:
                await self._side.put([replica, 0], "lead", token(endpoint), after=kept.seq)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        page = list[Debt]()
        async with self._link.answered(), aclosing(self._all(endpoint, after or "")) as found:
            async for last, debts in found:
                page += debts
                if len(page) >= limit:
                    return page, last
        return page, None

    async def owed(self, endpoint: str) -> int:
        async with self._link.answered(), aclosing(self._all(endpoint, "")) as found:
            return sum([len(debts) async for _, debts in found])

    async def _all(self, endpoint: str, after: str) -> AsyncGenerator[tuple[ChannelName, list[Debt]], None]:
        """Yield the debts of the channels behind one, in the order of their names, a few at a time, with the last."""
        if (present := await self._places.endpoint(endpoint)) is None:
            return
        lasts = {name: stream.last for name, stream in (await self._log.streams.all()).items()}
        channels = await self._side.channels()
        channels = channels[bisect_right(channels, after) :]
        for start in range(0, len(channels), AT_ONCE):
            some = channels[start : start + AT_ONCE]
            debts = await asyncio.gather(*(self._debt(endpoint, present.patterns, each, lasts) for each in some))
            yield some[-1], [debt for debt in debts if debt is not None]

    async def _debt(
        self, endpoint: str, patterns: Sequence[str], channel: ChannelName, lasts: Mapping[str, int]
    ) -> Debt | None:
        """Return the debt of a channel. `lasts` are the last sequences of the streams; a lost one has none."""
        journal = self._log.journal(channel)
        last = lasts.get(journal.stream, -1)
        if self._clean.get((endpoint, channel)) == last:
            return None
        head, start = await journal.head()
        debt = owed(await self._places.of(endpoint, channel), channel, head, start, patterns)
        if debt is None and last >= 0:
            if len(self._clean) >= CLEAN:
                self._clean.clear()
            self._clean[endpoint, channel] = last
        return debt

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        async with self._link.answered():
            present = await self._places.endpoint(endpoint)
            if present is None:
                return False
            head, start = await self._log.journal(channel).head()
            place = await self._places.of(endpoint, channel)
            debt = owed(place, channel, head, start, present.patterns)
            if debt is None or debt.delivered != delivered or to.epoch != head.epoch:
                return False
            most = head.offset if place.until is None else place.until
            if delivered.epoch != head.epoch:
                most = max(debt.place(head).offset, (await self._log.fold(channel)).floor)
            if to.offset > most:
                return False
            return await self._places.move(endpoint, channel, Place(to, place.until, place.seq))

    async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
        async with self._link.answered():
            id = await self._letters.add(endpoint, letter)
            if await self.deliver(endpoint, letter.channel, delivered, to):
                return True
            await self._letters.take(endpoint, [id])
            return False

    async def dead(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        above = 0 if after is None else _number(after)
        if above is None:
            raise BadRequest("after: expected the id of a dead letter", details={"field": "after"})
        async with self._link.answered():
            return await self._letters.read(endpoint, above, limit)

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        numbers = {number for number in map(_number, ids) if number}
        async with self._link.answered():
            return await self._letters.take(endpoint, sorted(numbers))


def _number(id: str) -> int | None:
    """Return the number of a letter's id, None if it is none."""
    return int(id) if id.isascii() and id.isdecimal() and len(id) <= len(str(MAX_ID)) and int(id) < MAX_ID else None
