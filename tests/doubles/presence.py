"""A stage for presence: replicas over one store, which may be away, lose changes, or hold reads."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from server.adapters.memory.presence import MemoryPresence
from server.application.people.entering import WAITING_LIMIT
from server.application.people.presence import Presences
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import SessionId, UserId
from server.domain.presence import (
    NOBODY,
    ChannelTurned,
    Departure,
    MemberJoined,
    MemberLeft,
    MembersCounted,
    Roster,
    RosterChanged,
    RosterHead,
)
from server.domain.rules import Rule, Rules
from server.ports.presence import Presence, RostersLost
from tests.doubles.samples import NOW_MS, ROOM, identity
from tests.doubles.transport import RecordingTransport

Told = MemberJoined | MemberLeft | MembersCounted


class FaultyPresence(Presence):
    """The store `inner`. While `away`, every call fails. `lossy`: changes are not heard. `reading` holds reads until it
    is set. `calls` has each call that was made, by its name, with the users of `enter` and `leave`."""

    def __init__(self, inner: Presence) -> None:
        self.inner = inner
        self.away = self.lossy = False
        self.held = True  # whether the lease is said to hold
        self.slow_s = 0.0  # how long a call takes
        self.fault: Exception | None = None  # of every call
        self.reading = asyncio.Event()
        self.reading.set()
        self.calls: list[tuple[str, ChannelName | None, tuple[UserId, ...]]] = []
        self.seen: list[RosterHead] = []  # of each call of `enter`
        self.back = 0  # by how many versions the store has gone back in time, until it is told of a head
        self.handed_over: float | None = None
        self.heads_seen = 0
        self._heard: asyncio.Queue[RosterChanged | RostersLost] = asyncio.Queue()

    @property
    def dropped(self) -> int:
        return 0

    @property
    def reaped(self) -> int:
        return self.inner.reaped

    def turns(self) -> AsyncIterator[ChannelTurned]:
        return self.inner.turns()

    async def _call(self, name: str, channel: ChannelName | None = None, users: Sequence[UserId] = ()) -> None:
        self.calls.append((name, channel, tuple(users)))
        await asyncio.sleep(self.slow_s)
        if self.fault is not None:
            raise self.fault
        if self.away:
            raise Unavailable("away")

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        await self._call("enter", channel, tuple(users))
        self.seen.append(seen)
        if seen != NOBODY:
            self.back = 0
        return await self.inner.enter(channel, users, seen)

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        await self._call("leave", channel, users)
        return await self.inner.leave(channel, users)

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        await self._call("read", channel)
        found = await self.inner.read(channel, limit)
        await self.reading.wait()
        return replace(found, head=self._behind(found.head))

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        await self._call("heads")
        return {channel: self._behind(head) for channel, head in (await self.inner.heads(channels)).items()}

    def _behind(self, head: RosterHead) -> RosterHead:
        return replace(head, version=head.version - self.back)

    async def renew(self) -> bool:
        await self._call("renew")
        held, self.held = self.held, True
        return held

    async def hand_over(self, linger_s: float) -> None:
        await self._call("hand_over")
        self.handed_over = linger_s

    async def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        while True:
            yield await self._heard.get()

    def hear(self, heard: RosterChanged | RostersLost) -> None:
        """Let the replica hear something."""
        self._heard.put_nowait(heard)

    async def relay(self) -> None:
        """Let the replica hear the changes of the inner store, unless `lossy`."""
        async for heard in self.inner.listen():
            if not self.lossy:
                self.hear(heard)

    async def run(self) -> None:
        await self.inner.run()

    def made(self, name: str) -> list[tuple[UserId, ...]]:
        """The users of each call of this name."""
        return [users for called, _, users in self.calls if called == name]


class CountingMetrics:
    """Counts what was told, and holes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.holes = 0

    def presence_told(self, kind: str) -> None:
        self.told.append(kind)

    def presence_hole(self) -> None:
        self.holes += 1


@dataclass
class Stage:
    """One replica's presence, and its sessions, which are named by user and number."""

    store: FaultyPresence
    memory: MemoryPresence
    transport: RecordingTransport
    presences: Presences
    metrics: CountingMetrics
    linked: list[bool] = field(default_factory=lambda: [True])

    def join(self, user: str, tab: int = 1, channel: ChannelName = ROOM, *, told: bool | None = True) -> list[object]:
        """Let a session of a user join; return its inbox."""
        session = SessionId(f"{user}/{tab}")
        inbox = self.transport.connect(session) if not self.transport.present(session) else []
        self.transport.enter(session, channel)
        self.presences.entered(session, identity(user), channel, told)
        return inbox

    def leave(self, user: str, tab: int = 1, channel: ChannelName = ROOM) -> None:
        """Let a session leave the channel."""
        session = SessionId(f"{user}/{tab}")
        self.transport.leave(session, channel)
        self.presences.left(session, channel)

    def end(self, user: str, departure: Departure, tab: int = 1) -> None:
        """Let a session end."""
        session = SessionId(f"{user}/{tab}")
        self.presences.ended(session, self.transport.end(session), departure)
        self.transport.disconnect(session)

    async def read(self, user: str, tab: int = 1, channel: ChannelName = ROOM) -> Roster:
        """Let a session ask who is there."""
        return await self.presences.read(SessionId(f"{user}/{tab}"), identity(user), channel)

    async def present(self, channel: ChannelName = ROOM) -> set[str]:
        """The users in the store's roster."""
        return {present.user for present in (await self.memory.read(channel, 100_000)).members}


@contextmanager
def stage(rules: Mapping[str, Rule] | None = None, limit: int = WAITING_LIMIT) -> Iterator[Stage]:
    """A stage in virtual time. Its loops end with the block."""
    loop = asyncio.get_running_loop()
    memory = MemoryPresence(lambda _: True, now_ms=lambda: NOW_MS + round(loop.time() * 1000))
    store, transport, metrics, linked = FaultyPresence(memory), RecordingTransport(), CountingMetrics(), [True]
    presences = Presences(
        store, transport, transport, Rules(rules or {}), loop.time, lambda: linked[0], metrics, limit=limit
    )
    with ExitStack() as tasks:
        for work in (*presences.loops(), store.relay()):
            task = loop.create_task(work)
            tasks.callback(task.cancel)
        yield Stage(store, memory, transport, presences, metrics, linked)
