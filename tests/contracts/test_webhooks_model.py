"""Whatever happens to a log, its dispatchers and its process, in any order: no event is skipped."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.messages import Position
from tests.contracts.webhook_stores import InMemory, InNats, InPostgres, InRedis, LosingStore, Owing, WebhookStore
from tests.doubles.samples import NOW_MS, new_message

CHANNELS = 2
ENDPOINTS = 2

_examples = count(1)
_messages = count(1)

Event = tuple[ChannelName, str, int]
"""A channel, an epoch, an offset."""

channel = st.integers(0, CHANNELS - 1)
endpoint = st.integers(0, ENDPOINTS - 1)
faultless = st.one_of(
    st.tuples(st.just("append"), channel, st.integers(1, 3)),
    st.tuples(st.just("append"), channel, st.integers(1, 3)),
    st.tuples(st.just("open"), endpoint, st.booleans()),
    st.tuples(st.just("deliver"), endpoint, st.sampled_from([1, 2, 9])),
    st.tuples(st.just("deliver"), endpoint, st.sampled_from([1, 2, 9])),
    st.tuples(st.just("bury"), endpoint, st.integers(1, 2)),
    st.tuples(st.just("race"), endpoint, channel),
    st.tuples(st.just("late"), endpoint, channel),
    st.tuples(st.just("reopen"), endpoint, channel),
)
examples = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class World:
    """The store, and by endpoint what it is to get and what it got."""

    store: WebhookStore
    owing: Owing
    name: str
    due: dict[str, set[Event]] = field(default_factory=dict)
    got: dict[str, set[Event]] = field(default_factory=dict)
    gaps: dict[str, set[ChannelName]] = field(default_factory=dict)
    written: set[Event] = field(default_factory=set)
    late: dict[str, list[tuple[ChannelName, Position]]] = field(default_factory=dict)  # places that debts have left

    def channel(self, number: int) -> ChannelName:
        """The channel with this number."""
        return ChannelName(f"{self.name}:{number}")

    async def append(self, channel: ChannelName, events: int = 1) -> None:
        """Append messages at once."""
        drafts = [new_message(next(_messages), channel) for _ in range(events)]
        for appended in await asyncio.gather(*(self.owing.log.append(draft) for draft in drafts)):
            event = (channel, appended.event.epoch, appended.event.offset)
            self.written.add(event)
            for due in self.due.values():
                due.add(event)

    async def open(self, endpoint: str, from_start: bool) -> None:
        """Open an endpoint, perhaps again."""
        is_new = await self.owing.webhooks.open(endpoint, [f"{self.name}:*"], from_start=from_start)
        assert is_new is (endpoint not in self.due)
        if is_new:
            self.due[endpoint] = set(self.written) if from_start else set()
            self.got[endpoint], self.gaps[endpoint], self.late[endpoint] = set(), set(), []

    async def take(self, endpoint: str, events: int) -> tuple[Debt, Position] | None:
        """Read the first debt as a dispatcher does, tell of a gap, give the endpoint the next events. Return the debt,
        and the place to which it is to move."""
        page, _ = await self.owing.webhooks.debts(endpoint, None, 1)
        if not page:
            return None
        debt = page[0]
        head = (await self.owing.log.read(debt.channel, 0, 0)).head
        place = debt.place(head)
        if place != debt.delivered:
            self.gaps[endpoint].add(debt.channel)
            return debt, place
        replay = await self.owing.log.read(debt.channel, place.offset, events)
        self.got[endpoint] |= {(debt.channel, event.epoch, event.offset) for event in replay.events}
        return debt, Position(place.epoch, place.offset + len(replay.events))

    async def deliver(self, endpoint: str, events: int) -> bool:
        """Bring the first debt forward. Return whether there was any."""
        if (taken := await self.take(endpoint, events)) is None:
            return False
        debt, to = taken
        if await self.owing.webhooks.deliver(endpoint, debt.channel, debt.delivered, to):
            self.late[endpoint].append((debt.channel, debt.delivered))
        return True

    async def bury(self, endpoint: str, events: int) -> None:
        """As `deliver`, into the dead letters."""
        if (taken := await self.take(endpoint, events)) is not None:
            debt, to = taken
            letter = DeadLetter("", debt.channel, to.epoch, debt.delivered.offset + 1, to.offset, "no", NOW_MS)
            assert await self.owing.webhooks.bury(endpoint, debt.delivered, letter, to)
            self.late[endpoint].append((debt.channel, debt.delivered))

    async def race(self, endpoint: str, channel: ChannelName) -> None:
        """Append while the endpoint is brought forward."""
        await asyncio.gather(self.append(channel, 2), self.deliver(endpoint, 3))

    async def come_late(self, endpoint: str) -> None:
        """A dispatcher that led before notes what was done long ago."""
        debts = await self.owing.webhooks.debts(endpoint, None, 100)
        now = {debt.channel: debt.delivered for debt in debts[0]}
        for channel, place in self.late[endpoint]:
            if now.get(channel) != place:
                head = (await self.owing.log.read(channel, 0, 0)).head
                assert not await self.owing.webhooks.deliver(endpoint, channel, place, head)
        assert await self.owing.webhooks.debts(endpoint, None, 100) == debts

    async def lose(self, channel: ChannelName) -> None:
        """Lose a channel: nobody can be given what they have not got."""
        assert isinstance(self.store, InMemory | InNats | InPostgres | InRedis)
        if any(event[0] == channel for event in self.written):
            await self.store.lose(self.owing, channel)
            await self.owing.log.read(channel, 0, 0)
            self.written = {event for event in self.written if event[0] != channel}
            for endpoint, due in self.due.items():
                self.gaps[endpoint].discard(channel)
                self.due[endpoint] = {event for event in due if event[0] != channel}

    async def settle(self) -> None:
        """Bring everything forward, and compare."""
        for endpoint, due in self.due.items():
            for _ in range(500):
                if not await self.deliver(endpoint, 2):
                    break
            assert await self.owing.webhooks.owed(endpoint) == 0
            assert due <= self.got[endpoint]


async def run(store: WebhookStore, script: Sequence[tuple[str, int, int]]) -> World:
    """Do the steps, then bring everything forward."""
    async with AsyncExitStack() as closing:
        world = World(store, await closing.enter_async_context(store.open()), f"model:{next(_examples)}")
        for step in [("open", 0, 0), *script]:
            if step[0] == "reopen":
                await closing.aclose()
                world.owing = await closing.enter_async_context(store.open())
            else:
                await do(world, *step)
        await world.settle()
        return world


async def do(world: World, kind: str, first: int, second: int) -> None:
    """Do a step; none for an endpoint that is not open."""
    endpoint = f"{world.name.replace(':', '-')}-{first % ENDPOINTS}"
    match kind:
        case "append":
            await world.append(world.channel(first), second)
        case "open":
            await world.open(endpoint, bool(second))
        case "lose":
            await world.lose(world.channel(first))
        case _ if endpoint not in world.due:
            pass
        case "deliver":
            await world.deliver(endpoint, second)
        case "bury":
            await world.bury(endpoint, second)
        case "race":
            await world.race(endpoint, world.channel(second))
        case _:
            await world.come_late(endpoint)


@given(script=st.lists(faultless, min_size=20, max_size=40))
@examples
async def test_no_event_is_skipped(webhook_store: WebhookStore, script: Sequence[tuple[str, int, int]]) -> None:
    """Every endpoint gets every event that was appended after it was opened, and no channel owes anything then."""
    world = await run(webhook_store, script)
    assert not any(world.gaps.values())


losing = st.one_of(faultless, faultless, faultless, st.tuples(st.just("lose"), channel, channel))


@given(script=st.lists(losing, min_size=20, max_size=40))
@examples
async def test_no_event_is_skipped_after_losses(
    losing_store: LosingStore, script: Sequence[tuple[str, int, int]]
) -> None:
    """Nor is an event of the epoch that follows; and what was lost is told."""
    await run(losing_store, script)


@pytest.mark.parametrize("endpoints", [1, 2])
async def test_every_endpoint_hears_of_a_loss(losing_store: LosingStore, endpoints: int) -> None:
    """Also those that had everything."""
    opens = [("open", number, 0) for number in range(endpoints)]
    world = await run(losing_store, [*opens, ("append", 0, 2), ("deliver", 0, 4), ("lose", 0, 0), ("append", 0, 1)])
    assert all(world.gaps[name] == {world.channel(0)} for name in world.due)
