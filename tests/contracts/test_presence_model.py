"""Whatever replicas do and suffer, in any order: rosters are what those that live have entered, versions are dense, and
the changes that are heard make a later roster of an earlier one."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, RosterChanged, RosterHead
from server.ports.replicas import LEASE_S
from tests.contracts.nats_presence import nats_deployment
from tests.contracts.presence_stores import (
    DEADLINE_S,
    Deployment,
    InMemory,
    Replica,
    SharingReplica,
    postgres_deployment,
    redis_deployment,
)
from tests.contracts.redises import RedisServer
from tests.doubles.clock import Clock
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess

REPLICAS, CHANNELS = 3, 2
LEASE_MS = round(LEASE_S * 1_000)
FOREVER = float("inf")
USERS = [UserId(name) for name in ("anna", "b e=r,t", "carl", "∂")]

_examples = count(1)

replica, channel = st.integers(0, REPLICAS - 1), st.integers(0, CHANNELS - 1)
some = st.sets(st.sampled_from(USERS), max_size=3)
of_all = st.one_of(
    st.tuples(st.just("enter"), replica, channel, some),
    st.tuples(st.just("enter"), replica, channel, some),
    st.tuples(st.just("leave"), replica, channel, some),
)
of_replicas = st.one_of(
    of_all,
    of_all,
    st.tuples(st.just("pass"), st.sampled_from([1, 7_000, LEASE_MS - 1, LEASE_MS])),
    st.tuples(st.just("renew"), replica),
    st.tuples(st.just("renew"), replica),
    st.tuples(st.just("look"), replica),
    st.tuples(st.just("hand_over"), replica, st.sampled_from([0, 10_000])),
    st.tuples(st.just("break"), replica),
    st.tuples(st.just("restart"), replica),
)
examples = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HANDED_OVER_TWICE: list[tuple[Any, ...]] = [
    ("enter", 1, 1, {UserId("carl")}),
    ("renew", 0),
    ("hand_over", 0, 0),
    ("hand_over", 0, 10_000),
    ("enter", 0, 0, {UserId("b e=r,t")}),
    ("pass", 7_000),
    ("renew", 1),
    ("enter", 0, 0, {UserId("b e=r,t")}),
    ("enter", 1, 0, {UserId("carl"), UserId("anna")}),
]
"""A lease that has ended is not begun again by handing over once more."""


@dataclass
class World:
    """The replicas; by the names under which they hold entries, what they have entered, and when that ends; and what
    the first replica has heard."""

    deployment: Deployment
    clock: Clock
    name: str
    replicas: list[Replica] = field(default_factory=list)
    entered: dict[str, list[set[UserId]]] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    leaving: set[int] = field(default_factory=set)
    heads: list[RosterHead] = field(default_factory=lambda: [NOBODY] * CHANNELS)
    shown: list[dict[UserId, Present]] = field(default_factory=lambda: [{} for _ in range(CHANNELS)])

    def channel(self, number: int) -> ChannelName:
        """The channel with this number."""
        return ChannelName(f"{self.name}:{number}")

    async def begin(self, number: int) -> None:
        """Start so many replicas."""
        self.replicas = [await self.deployment.open() for _ in range(number)]
        for channel in range(CHANNELS):
            await self.replicas[0].broadcast.subscribe(self.channel(channel))

    def holds(self, name: str) -> bool:
        """Whether a lease holds."""
        return self.clock.now < self.ends.get(name, 0)

    async def attempt(self, replica: Replica, call: Coroutine[Any, Any, RosterHead]) -> str | None:
        """Make a call that needs the lease, which begins with it. Return the name; None if it was refused."""
        name = current(replica)
        try:
            await call
        except Unavailable:
            assert name in self.ends
            assert not self.holds(name)
            return None
        self.ends.setdefault(name, self.clock.now + LEASE_MS if isinstance(replica, SharingReplica) else FOREVER)
        assert self.holds(name)
        return name

    async def enter(self, number: int, channel: int, users: set[UserId]) -> None:
        replica = self.replicas[number % len(self.replicas)]
        call = replica.presence.enter(self.channel(channel), dict.fromkeys(sorted(users)))
        if not users:
            await call
        elif (name := await self.attempt(replica, call)) is not None:
            self.entered.setdefault(name, [set() for _ in range(CHANNELS)])[channel] |= users

    async def leave(self, number: int, channel: int, users: set[UserId]) -> None:
        replica = self.replicas[number % len(self.replicas)]
        call = replica.presence.leave(self.channel(channel), sorted(users))
        if not users:
            await call
        elif await self.attempt(replica, call) is not None:
            for name in names(replica):
                if name in self.entered:
                    self.entered[name][channel] -= users

    async def renew(self, number: int) -> None:
        replica = self.replicas[number]
        before = current(replica)
        lost = before in self.ends and not self.holds(before) and number not in self.leaving
        assert await replica.presence.renew() is not lost
        if number not in self.leaving:
            for name in names(replica):
                if name not in self.ends or self.holds(name):
                    self.ends[name] = self.clock.now + LEASE_MS

    async def look(self, number: int) -> None:
        replica = self.replicas[number]
        assert isinstance(replica, SharingReplica)
        await replica.look()
        for name in [name for name in self.ends if not self.holds(name)]:
            self.entered.pop(name, None)

    async def hand_over(self, number: int, linger_ms: int) -> None:
        replica = self.replicas[number]
        await replica.presence.hand_over(linger_ms / 1_000)
        self.leaving.add(number)
        for name in names(replica):
            if self.holds(name):
                self.ends[name] = self.clock.now + linger_ms

    async def lose_link(self, number: int) -> None:
        replica = self.replicas[number]
        assert isinstance(replica, SharingReplica)
        replica.holding.restore()

    async def restart(self, number: int) -> None:
        """Kill a replica, and start another. The first stays: it is the witness."""
        if number:
            self.replicas[number] = await self.deployment.open()
            self.leaving.discard(number)

    def expected(self, channel: int) -> set[UserId]:
        """The users that are to be in a channel."""
        return set().union(*(entered[channel] for entered in self.entered.values()))

    async def check(self) -> None:
        """Compare all with the model."""
        for channel in range(CHANNELS):
            roster = await self.replicas[-1].presence.read(self.channel(channel), 10)
            assert {present.user for present in roster.members} == self.expected(channel)
            assert (roster.complete, roster.head.count) == (True, len(roster.members))
            head = roster.head
            if roster.members or not isinstance(self.deployment, InMemory):
                async with asyncio.timeout(DEADLINE_S):
                    while self.heads[channel] != head:
                        await self.hear()
                assert {*self.shown[channel].values()} == {*roster.members}

    async def hear(self) -> None:
        """Replay a change on what is known."""
        change = await anext(self.replicas[0].heard)
        assert isinstance(change, RosterChanged)
        number = int(change.channel.rpartition(":")[2])
        shown, before, head = self.shown[number], self.heads[number], change.head
        if head.epoch != before.epoch:
            assert not shown
            before = RosterHead(head.epoch, 0, 0)
        assert head.version - len(change.left) - len(change.joined) == before.version
        for present in change.left:
            assert shown.pop(present.user) == present
        for present in change.joined:
            assert present.user not in shown
            shown[present.user] = present
        assert len(shown) == head.count
        self.heads[number] = head


def names(replica: Replica) -> tuple[str, ...]:
    """The names under which a replica holds entries."""
    return replica.holding.names if isinstance(replica, SharingReplica) else ("the process",)


def current(replica: Replica) -> str:
    """The present one of them."""
    return names(replica)[0]


async def live(world: World, steps: list[tuple[Any, ...]], replicas: int) -> None:
    """Do the steps, and check after each."""
    await world.begin(replicas)
    for step, *arguments in steps:
        match step:
            case "pass":
                world.clock.now += arguments[0]
            case "break":
                await world.lose_link(*arguments)
            case _:
                await getattr(world, step)(*arguments)
        await world.check()


@examples
@given(st.lists(of_all, max_size=30))
async def test_rosters_of_one_process_are_sets(steps: list[tuple[Any, ...]]) -> None:
    """Without leases."""
    deployment = InMemory()
    await live(World(deployment, Clock(), f"model:{next(_examples)}"), steps, 1)


@examples
@given(st.lists(of_replicas, min_size=10, max_size=60))
@example(HANDED_OVER_TWICE)
async def test_rosters_of_replicas_are_those_of_the_living(
    any_redis: RedisServer, steps: list[tuple[Any, ...]]
) -> None:
    """With leases that end, breaks, handing over, kills."""
    clock = Clock()
    async with redis_deployment(any_redis, clock) as deployment:
        await live(World(deployment, clock, f"model:{next(_examples)}"), steps, REPLICAS)


@settings(examples, max_examples=10)
@given(st.lists(of_replicas, min_size=10, max_size=60))
@example(HANDED_OVER_TWICE)
async def test_rosters_in_postgres_are_those_of_the_living(
    postgres_server: PostgresProcess, steps: list[tuple[Any, ...]]
) -> None:
    """The same in PostgreSQL."""
    clock = Clock()
    async with postgres_deployment(postgres_server, clock) as deployment:
        await live(World(deployment, clock, f"model:{next(_examples)}"), steps, REPLICAS)


@settings(examples, max_examples=10)
@given(st.lists(of_replicas, min_size=10, max_size=60))
@example(HANDED_OVER_TWICE)
async def test_rosters_in_nats_are_those_of_the_living(nats_server: NatsProcess, steps: list[tuple[Any, ...]]) -> None:
    """The same in NATS."""
    clock = Clock()
    async with nats_deployment(nats_server, clock) as deployment:
        await live(World(deployment, clock, f"model:{next(_examples)}"), steps, REPLICAS)
