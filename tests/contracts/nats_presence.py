"""Replicas that share presence in NATS."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import orjson

from server.adapters.nats.bus import NatsBus
from server.adapters.nats.documents import Documents
from server.adapters.nats.holding import Holding, lease
from server.adapters.nats.link import Link
from server.adapters.nats.online import NatsOnline
from server.adapters.nats.presence import NatsPresence
from server.adapters.nats.reaper import Reaper
from server.adapters.nats.roster import Members
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.presence import RosterHead
from server.domain.replicas import ReplicaId
from server.ports.presence import CHANGES_LIMIT
from server.ports.replicas import LEASE_S
from tests.contracts import presence_stores
from tests.contracts.presence_stores import DEADLINE_S, Sharing, SharingReplica
from tests.contracts.redises import RedisServer
from tests.doubles.clock import Clock
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.proxy import Proxy
from tests.harness.seal import SEAL
from tests.harness.waiting import polled

_numbers = count(1)

STREAMS = "leases", "lists", "clock", "rosters", "emptied", "online", "seen"
"""Of presence, in NATS."""


class InNats(Sharing):
    """Replicas of a prefix of the test's own. With a `clock` it is the time of all; else it is NATS'."""

    def __init__(self, link: Link, proxy: Proxy, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        self._own, self._proxy = link, proxy
        self.lease_s, self.clock = lease_s, clock or Clock()
        self.prefix = f"presence-{next(_numbers)}"
        self._times: dict[str, Any] = {} if clock is None else {"store_ms": clock}
        self._started = list[tuple[Link, NatsBus, asyncio.Task[Link]]]()

    async def open(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        replica = self.make(limit)
        async with asyncio.timeout(DEADLINE_S):
            await self._started[-1][0].linked.wait()
            await replica.lost()
        return replica

    def make(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        link = Link(f"nats://127.0.0.1:{self._proxy.port}")
        bus = NatsBus(link, prefix=self.prefix)
        topics = Topics(bus, SEAL)
        monotonic = (lambda: self.clock() / 1_000) if self._times else time.monotonic
        id, times = ReplicaId(f"{next(_numbers):016x}"), self._times
        holding = Holding(link, id, prefix=self.prefix, lease_s=self.lease_s, monotonic=monotonic, **times)
        reaper = Reaper(holding)
        presence, online = NatsPresence(holding, reaper, topics, limit), NatsOnline(holding, reaper)
        self._started.append((link, bus, asyncio.create_task(link.__aenter__())))
        broadcast = TopicBroadcast(topics)
        return SharingReplica(broadcast, presence, online, self.clock, holding, reaper.look, lambda: topics.refused)

    def documents(self, name: str) -> Documents:
        """The documents of a stream."""
        return Documents(self._own, name, prefix=self.prefix)

    async def left_by(self, holder: str) -> bool:
        found = await self.documents("leases").get(holder)
        if found is not None and found.data != lease(None):
            return True
        rosters = [Members.read(each.data) for each in await self.documents("rosters").all()]
        counts = [orjson.loads(each.data) for each in await self.documents("online").all()]
        listed = await self.documents("lists").all(holder)
        return any(members.has(holder) for members in rosters) or any(holder in each for each in counts) or bool(listed)

    async def counted(self) -> bool:
        return bool(await self.documents("online").all())

    async def end_lease(self, holder: str) -> None:
        await self.documents("leases").put(lease(1), holder)

    async def go_back(self, channel: ChannelName, head: RosterHead) -> None:
        rosters = self.documents("rosters")
        found = await rosters.get(channel)
        members = Members.read(b"" if found is None else found.data)
        members.epoch, members.version = head.epoch, head.version
        await rosters.put(members.written(), channel)

    async def publish(self, replica: SharingReplica, channel: ChannelName, body: bytes) -> int:
        bus = self._started[-1][1]
        payloads = [b"r " + body, b"r " + b"0" * 40 + b" " + body]
        for payload in payloads:
            await bus.publish(channel, payload)
        return len(payloads)

    async def empty(self) -> None:
        for name in STREAMS:
            await self.documents(name).purge(under=True)

    async def break_links(self) -> None:
        before = [link.losses for link, _, _ in self._started]
        self._proxy.cut()
        for (link, _, _), losses in zip(self._started, before, strict=True):
            await polled(lambda link=link, losses=losses: link.losses > losses, DEADLINE_S, lambda: "a link is lost")  # type: ignore[misc]
            async with asyncio.timeout(DEADLINE_S):
                await link.linked.wait()

    async def aclose(self) -> None:
        for link, _, opening in self._started:
            await opening
            await link.__aexit__()
        for name in STREAMS:
            await self.documents(name).delete()


@asynccontextmanager
async def nats_deployment(
    server: NatsProcess, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AsyncIterator[InNats]:
    """A deployment that is stopped at the end."""
    async with Proxy(server.port) as proxy, Link(server.url) as link:
        deployment = InNats(link, proxy, clock, lease_s)
        try:
            yield deployment
        finally:
            await deployment.aclose()


def sharing_deployment(
    server: NatsProcess | RedisServer | PostgresProcess, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AbstractAsyncContextManager[Sharing]:
    """A deployment in a store of any kind, that is stopped at the end."""
    if isinstance(server, NatsProcess):
        return nats_deployment(server, clock, lease_s)
    return presence_stores.sharing_deployment(server, clock, lease_s)
