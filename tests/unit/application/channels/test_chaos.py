"""The whole of it under chaos: whatever is lost, late, repeated or away, every client sees the log, in order, once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.hosting import LINGER_S
from server.application.commands import Delete, Edit, Send
from server.domain.appending import Appended
from server.domain.errors import Conflict, MaruError, NotFound, Unavailable
from server.domain.events import Event, MessageCreated, without_deleted
from server.domain.identity import SessionId
from server.domain.messages import MessageId, Position
from server.domain.recovery import NotResumable
from tests.doubles.chaotic_broadcast import Broker, Faithful, Whims
from tests.doubles.client import Asked, Follower, Gone
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.newer_version import write_in_memory
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, identity
from tests.doubles.virtual_time import turns, virtually

QUIET_S = 20.0
"""Virtual time after the last fault in which everything must have come to rest."""

PATIENCE = 20
"""Tries of a client that is told to come back later."""


@dataclass
class Scale:
    """How much goes on; hypothesis makes it smaller where something fails."""

    seed: int
    replicas: int
    clients: int
    senders: int
    sends: int
    faults: int


SCALES = st.builds(
    Scale,
    seed=st.integers(0, 2**32),
    replicas=st.integers(1, 3),
    clients=st.integers(1, 4),
    senders=st.integers(1, 3),
    sends=st.integers(1, 25),
    faults=st.integers(0, 12),
)


@dataclass
class Chaos:
    """A town of replicas over one log and one broker, both of which have their whims."""

    scale: Scale
    log: FaultyLog
    forgetful: bool = False
    now: float = 0.0
    joining: int = 0
    acked: list[Appended] = field(default_factory=list)
    inboxes: list[list[object]] = field(default_factory=list)
    replicas: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.scale.seed)
        self.broker = Broker(Whims(self.random))
        self.log.before = self.log.after = self.pause

    async def pause(self) -> None:
        """A few turns of the loop, or none."""
        await turns(self.random.choice((0, 0, 1, 2, 5)))

    def follower(self, inbox: list[object]) -> Follower:
        """What the client of the inbox has seen so far, checked."""
        return Follower({(event.epoch, event.offset): event for event in self.log.written}).follow(inbox)

    async def run(self) -> None:
        """Let everybody act at once, then let it come to rest with every client in the channel."""
        async with AsyncExitStack() as stack:
            for _ in range(self.scale.replicas):
                link = self.broker.link()
                self.replicas.append(await stack.enter_async_context(replica(self.log, link, lambda: self.now)))
            async with asyncio.TaskGroup() as actors:
                for number in range(self.scale.clients):
                    actors.create_task(self.client(f"client{number}"))
                for number in range(self.scale.senders):
                    actors.create_task(self.sender(f"sender{number}"))
                actors.create_task(self.faults())
            self.calm()
            await asyncio.sleep(QUIET_S)

    def calm(self) -> None:
        """End all faults."""
        self.log.error = None
        self.broker.plan = Faithful()
        self.broker.come_back()
        self.broker.settle()

    # Those who act

    async def sender(self, user: str) -> None:
        """Post, edit and delete by any replica, and try again by key what may not have been written."""
        ids: list[MessageId] = []
        for number in range(self.scale.sends):
            await self.pause()
            if self.random.random() < 0.2:
                self.write_unknown()
            who, publisher = identity(user), self.random.choice(self.replicas).publisher
            command = Send(channel=ROOM, text=f"{user} {number}", key=f"key {number}")
            if not ids or self.random.random() < 0.7:
                appended = await self.insist(lambda p=publisher, w=who, c=command: p.send(w, c))  # type: ignore[misc]
                assert isinstance(appended.event, MessageCreated)
                ids.append(appended.event.message.id)
                continue
            id = self.random.choice(ids)
            try:
                if self.random.random() < 0.6:
                    self.acked.append(await publisher.edit(who, Edit(channel=ROOM, id=id, text=f"better {number}")))
                else:
                    self.acked.append(await publisher.delete(who, Delete(channel=ROOM, id=id)))
            except (Unavailable, Conflict, NotFound):
                continue

    def write_unknown(self) -> None:
        """Let a newer version write an entry of its own, and hint at it as far as the broker is there."""
        assert isinstance(self.log.inner, MemoryMessageLog)
        event = write_in_memory(self.log.inner, ROOM, at=0)
        self.log.written.append(event)
        if not self.broker.away:
            for link in self.broker.links:
                link.travel(event)

    async def insist(self, send: Callable[[], Awaitable[Appended]]) -> Appended:
        """Send until it is acked, as a client does that retries by key."""
        for _ in range(PATIENCE):
            try:
                self.acked.append(await send())
            except Unavailable:
                await asyncio.sleep(self.random.random())
            else:
                return self.acked[-1]
        raise AssertionError(f"could not send in {PATIENCE} tries")

    async def client(self, name: str) -> None:
        """Come, stay, go, come back to any replica; stay in the end."""
        inbox: list[object] = []
        self.inboxes.append(inbox)
        for number in range(self.random.randrange(5)):
            session, home = SessionId(f"{name}.{number}"), self.random.choice(self.replicas)
            home.transport.connect(session, inbox)
            entering = asyncio.create_task(self.enter(home, session, inbox))
            await turns(self.random.randrange(30))
            if self.random.random() < 0.3:
                entering.cancel()
            await asyncio.wait([entering])
            await turns(self.random.randrange(60))
            if self.random.random() < 0.5:
                home.subscriptions.leave(session, ROOM)
                inbox.append(Gone())
                await turns(self.random.randrange(5))
            home.transport.disconnect(session)
            inbox.append(Gone())
        session, home = SessionId(f"{name}.last"), self.random.choice(self.replicas)
        home.transport.connect(session, inbox)
        for _ in range(PATIENCE):
            if await self.enter(home, session, inbox):
                return
            await asyncio.sleep(self.random.random())
        raise AssertionError(f"{name} could not enter in {PATIENCE} tries")

    async def enter(self, home: Replica, session: SessionId, inbox: list[object]) -> bool:
        """Join or resume from where the client was; say whether it worked."""
        self.joining += 1
        since = self.random.choice((self.follower(inbox).last, None))
        history = self.random.choice((0, 0, 5, 100))
        try:
            if since is not None and self.random.random() < 0.5:
                inbox.append(Asked(since))
                await home.subscriptions.resume(session, identity("reader"), {ROOM: since})
            else:
                inbox.append(Asked(since, history))
                await home.subscriptions.join(session, identity("reader"), ROOM, inbox.append, since, history)
        except MaruError:
            return False
        finally:
            self.joining -= 1
        return session in home.transport.members(ROOM)

    async def faults(self) -> None:
        """Outages of the log and of the broker, empty channels let go, and, where the log is forgetful, its loss."""
        for _ in range(self.scale.faults):
            await turns(self.random.randrange(40))
            match self.random.randrange(4):
                case 0:
                    self.log.error = Unavailable("the log is away")
                    await turns(self.random.randrange(60))
                    self.log.error = None
                case 1:
                    self.broker.away = True
                    await turns(self.random.randrange(60))
                    self.broker.come_back()
                case 2 if not self.joining:  # none takes as long as the jump
                    self.now += LINGER_S
                    await self.random.choice(self.replicas).hub.release_empty()
                case _ if self.forgetful:
                    assert isinstance(self.log.inner, MemoryMessageLog)
                    self.log.inner.forget(ROOM)
                case _:
                    self.broker.settle()


def chaos(scale: Scale, retention: int, *, forgetful: bool = False) -> tuple[Chaos, list[Event], Position]:
    """Run one; return it with the log's events and head at its end."""
    log = MemoryMessageLog(max_events=retention, max_age_ms=HOUR_MS, store_id=b"one store", now_ms=lambda: 0)
    town = Chaos(scale, FaultyLog(log), forgetful)

    async def live() -> tuple[list[Event], Position]:
        await town.run()
        replay = await log.read(ROOM, 0, 1_000_000)
        return [*replay.events], replay.head

    return town, *virtually(live)


@given(SCALES)
def test_every_client_sees_the_log_in_order_once(scale: Scale) -> None:
    """Sessions come and go, with and without `since` and `history`, on several replicas, while others post, edit and
    delete, a newer version writes entries of its own, hints are lost, late and repeated, and log and broker have
    outages. Each slice that a client is given is the log's, without a break; in the end each client has all messages;
    what was acked is there, and what was retried is there once."""
    town, events, head = chaos(scale, retention=1_000_000)
    assert events == list(without_deleted(town.log.written))
    assert [event.offset for event in events] == [*range(1, head.offset + 1)]
    for appended in town.acked:
        # The answer was given before the deletion of its message, or after.
        assert appended.event in (town.log.written[appended.event.offset - 1], events[appended.event.offset - 1])
    creations = [event.message for event in town.log.written if isinstance(event, MessageCreated)]
    keys = [(message.author.id, message.key) for message in creations]
    assert len(keys) == len(set(keys))
    for inbox in town.inboxes:
        follower = town.follower(inbox)
        assert follower.misses_nothing(head)
        assert follower.restarts == []


@given(SCALES)
def test_a_log_that_forgets_and_trims_breaks_no_slice(scale: Scale) -> None:
    """The same over a log that keeps 3 events and is lost now and then: what is delivered is still dense and true,
    each break is told with a reason that holds, and in the end every client is at the head."""
    retention = 3
    town, _, head = chaos(scale, retention, forgetful=True)
    heads: dict[str, int] = {}
    for event in town.log.written:
        heads[event.epoch] = max(heads.get(event.epoch, 0), event.offset)
    for inbox in town.inboxes:
        follower = town.follower(inbox)
        assert follower.misses_nothing(head)
        for restart in follower.restarts:
            assert restart.reason in {NotResumable.EPOCH_CHANGED, NotResumable.EXPIRED}
            if restart.reason is NotResumable.EXPIRED:
                assert restart.position.offset < heads[restart.position.epoch] - retention
            else:
                assert restart.position.epoch != head.epoch
