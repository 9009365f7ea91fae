"""A broker that loses, repeats, delays and reorders hints by a plan, each replica's on its own."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from random import Random
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.events import Event
from server.ports.broadcast import Broadcast, Hint, LinkRestored


class Fate(Enum):
    """What becomes of one hint on its way to one replica."""

    ARRIVES = "arrives"
    ARRIVES_TWICE = "arrives twice"
    IS_LATE = "is late"
    IS_LOST = "is lost"


class Plan(Protocol):
    """Decides about hints; a `random.Random` with a seed makes one (`Whims`)."""

    def fate(self) -> Fate:
        """Of the next hint."""
        ...

    def pick(self, count: int) -> int | None:
        """Which of `count` late hints arrives now, if one does."""
        ...


class Faithful:
    """The plan under which every hint arrives, once, in order."""

    def fate(self) -> Fate:
        """Arrives."""
        return Fate.ARRIVES

    def pick(self, count: int) -> int | None:
        """None is ever late."""
        return None


class Whims:
    """The plan that a seeded generator of random numbers makes up as it goes."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def fate(self) -> Fate:
        """Any; half of the hints simply arrive."""
        fates: list[Fate] = [*Fate, Fate.ARRIVES, Fate.ARRIVES, Fate.ARRIVES]
        return self._random.choice(fates)

    def pick(self, count: int) -> int | None:
        """Now and then one of the late ones, not always the one that has waited longest."""
        return self._random.randrange(count) if self._random.random() < 0.3 else None


class Broker:
    """What the replicas' broadcasts go through. While `away`, publishing fails and nothing arrives."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.away = False
        self.plan: Plan = Faithful() if plan is None else plan
        self.links: list[BrokerLink] = []

    def link(self) -> "BrokerLink":
        """The broadcast of one more replica."""
        link = BrokerLink(self)
        self.links.append(link)
        return link

    def come_back(self) -> None:
        """End an outage: each replica learns that hints may have been lost."""
        self.away = False
        for link in self.links:
            link.arrive(LinkRestored())

    def settle(self) -> None:
        """Let all that is late arrive, and tell the replicas that lost hints, as promise 2 of the port has it."""
        for link in self.links:
            link.settle()


class BrokerLink(Broadcast):
    """One replica's broadcast. `calls` lists what was asked of it: ("subscribe" | "unsubscribe", channel)."""

    def __init__(self, broker: Broker) -> None:
        self.calls: list[tuple[str, ChannelName]] = []
        self._broker = broker
        self._channels: set[ChannelName] = set()
        self._late: list[Event] = []
        self._lossy = False
        self._waiting: deque[Hint] = deque()
        self._arrived = asyncio.Event()

    @property
    def dropped(self) -> int:
        return 0

    async def publish(self, event: Event) -> None:
        self._check()
        for link in self._broker.links:
            link.travel(event)

    async def subscribe(self, channel: ChannelName) -> None:
        self.calls.append(("subscribe", channel))
        self._check()
        self._channels.add(channel)

    async def unsubscribe(self, channel: ChannelName) -> None:
        self.calls.append(("unsubscribe", channel))
        self._check()
        self._channels.discard(channel)

    async def listen(self) -> AsyncIterator[Hint]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    def travel(self, event: Event) -> None:
        """Meet with the fate that the plan has for the hint."""
        if event.channel not in self._channels:
            return
        match self._broker.plan.fate():
            case Fate.ARRIVES:
                self.arrive(event)
            case Fate.ARRIVES_TWICE:
                self.arrive(event)
                self._late.append(event)
            case Fate.IS_LATE:
                self._late.append(event)
            case Fate.IS_LOST:
                self._lossy = True
        while self._late and (picked := self._broker.plan.pick(len(self._late))) is not None:
            self.arrive(self._late.pop(picked))

    def arrive(self, hint: Hint) -> None:
        """Be heard by the replica."""
        self._waiting.append(hint)
        self._arrived.set()

    def settle(self) -> None:
        """See `Broker.settle`."""
        while self._late:
            self.arrive(self._late.pop())
        if self._lossy:
            self._lossy = False
            self.arrive(LinkRestored())

    def _check(self) -> None:
        if self._broker.away:
            raise Unavailable("the broker is away")
