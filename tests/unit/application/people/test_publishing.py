"""Events of applications: who may, what is written, what is only told, and pages of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.records import MemoryRecords
from server.adapters.memory.signals import MemorySignals
from server.application.limits.fresh_channels import FreshChannels
from server.application.messages.writing import Writing
from server.application.outside.asking import Asking
from server.application.outside.denials import Denials
from server.application.people.payloads import Publish, ReadEvents
from server.application.people.publishing import AppEvents
from server.domain.channels import ChannelName
from server.domain.control import Denial
from server.domain.errors import Overloaded, PermissionDenied, RateLimited
from server.domain.events import EventPublished
from server.domain.gcra import Rate
from server.domain.hooks import Hook, Reject, Replace
from server.domain.identity import Author, Identity, SessionId, UserId
from server.domain.rates import Bucket
from server.domain.rules import Rule, Rules
from server.domain.signals import EventEmitted
from server.ports.records import RecordPage
from tests.doubles.hooks import FakeBackend
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity

ALICE = identity("alice")
PAID = Publish(channel=ROOM, name="order.paid", data={"total": 7}, key="k")


@dataclass
class Client:
    """A session."""

    id: SessionId = SessionId("s")  # noqa: RUF009  # a text
    identity: Identity = field(default_factory=identity)
    ended: bool = False


class Stage:
    """The use case in one process, which hosts the room."""

    def __init__(self, asking: Asking | None = None, fresh: FreshChannels | None = None) -> None:
        self.denials, self.broadcast = Denials(), MemoryBroadcast()
        self.signals = MemorySignals(self.broadcast)
        self.log = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
        self.busy = False
        self.events = AppEvents(
            MemoryRecords(self.log),
            Writing(self.broadcast, fresh=fresh),
            self.signals,
            lambda: NOW_MS,
            self.check,
            denials=self.denials,
            asking=asking,
        )

    def check(self) -> None:
        """Refuse reads if the replica is busy."""
        if self.busy:
            raise Overloaded("busy")

    async def read(self, **wanted: Any) -> RecordPage:
        """A page of the room."""
        return await self.events.read(ALICE, ReadEvents(channel=ROOM, **wanted))

    async def publish(self, count: int, data: object = None) -> None:
        """So many events."""
        for number in range(count):
            await self.events.publish(ALICE, Publish(channel=ROOM, name=f"n{number % 2}", data=data))


async def test_a_logged_event() -> None:
    """It has a position, is hinted at, and is the same under its key."""
    stage = Stage()
    await stage.broadcast.subscribe(ROOM)
    recorded = await stage.events.publish(ALICE, PAID)
    assert recorded is not None
    epoch = recorded.event.epoch
    event = EventPublished(ROOM, epoch, 1, NOW_MS, "order.paid", Author(UserId("alice"), "Alice"), {"total": 7}, "k")
    assert (recorded.event, recorded.duplicate) == (event, False)
    assert await anext(stage.broadcast.listen()) == event
    again = await stage.events.publish(ALICE, PAID)
    assert again is not None
    assert (again.event, again.duplicate) == (event, True)


async def test_an_event_without_the_log_is_a_signal() -> None:
    """It has no position, and no trace remains."""
    stage = Stage()
    await stage.broadcast.subscribe(ROOM)
    assert await stage.events.publish(ALICE, PAID.model_copy(update={"log": False})) is None
    emitted = await anext(stage.signals.listen())
    assert emitted == EventEmitted(ROOM, "order.paid", Author(UserId("alice"), "Alice"), {"total": 7})
    page = await stage.read()
    assert (page.events, page.head.offset) == ([], 0)


@pytest.mark.parametrize("log", [True, False])
async def test_only_publishers_publish(log: bool) -> None:
    """The action is one of its own; a removed user has none."""
    stage = Stage()
    writer = identity("bob", {"room:*": ["join", "send", "moderate", "edit_others", "react"]})
    with pytest.raises(PermissionDenied, match="'publish'"):
        await stage.events.publish(writer, PAID.model_copy(update={"log": log}))
    stage.denials.apply(Denial(ROOM, ALICE.user, 1))
    with pytest.raises(PermissionDenied, match="removed"):
        await stage.events.publish(ALICE, PAID.model_copy(update={"log": log}))


async def test_only_those_who_may_join_read() -> None:
    """As history."""
    stage = Stage()
    with pytest.raises(PermissionDenied, match="'join'"):
        await stage.events.read(identity("bob", {"room:*": ["publish"]}), ReadEvents(channel=ROOM))


async def test_a_busy_replica_reads_nothing() -> None:
    """As history."""
    stage = Stage()
    stage.busy = True
    with pytest.raises(Overloaded):
        await stage.read()


def offsets(events: Sequence[EventPublished]) -> list[int]:
    """Their places."""
    return [event.offset for event in events]


async def test_pages() -> None:
    """By bounds and by name."""
    stage = Stage()
    await stage.publish(6)
    page = await stage.read(limit=2)
    assert (offsets(page.events), page.more, page.head.offset) == ([5, 6], True, 6)
    assert offsets((await stage.read(after=1, limit=2)).events) == [2, 3]
    assert offsets((await stage.read(name="n0")).events) == [1, 3, 5]
    assert not (await stage.read(before=3, after=0)).more


async def test_a_page_has_a_bound_in_bytes() -> None:
    """The part at the side from which is read; the rest is `more`."""
    stage = Stage()
    await stage.publish(100, "x" * 8_190)
    newest, oldest = await stage.read(limit=100), await stage.read(after=0, limit=100)
    assert newest.more
    assert oldest.more
    assert (newest.events[-1].offset, oldest.events[0].offset) == (100, 1)
    assert 80 < len(newest.events) == len(oldest.events) < 100


HOOKED = Rules({"room:*": Rule(hooks=frozenset({Hook.SEND}))})


async def test_a_backend_judges_events_too() -> None:
    """Logged or not; it may put other data in place. Events that are no client's are not asked about."""
    backend = FakeBackend()
    stage, client = Stage(Asking(backend, HOOKED, lambda: 0.0)), Client()
    await stage.broadcast.subscribe(ROOM)
    backend.answer = lambda _: Replace({"data": [1]})
    recorded = await stage.events.publish(ALICE, PAID, client)
    assert recorded is not None
    assert recorded.event.data == [1]
    backend.answer = lambda _: Reject("no")
    for log in (True, False):
        with pytest.raises(PermissionDenied) as refused:
            await stage.events.publish(ALICE, PAID.model_copy(update={"log": log}), client)
        assert refused.value.details == {"reason": "no"}
    assert [asked.name for asked in backend.asked] == ["order.paid"] * 3
    assert await stage.events.publish(ALICE, PAID) is not None
    assert len(backend.asked) == 3


async def test_a_user_who_is_removed_meanwhile_publishes_nothing() -> None:
    """The backend's verdict is older than the removal."""
    backend = FakeBackend()
    stage = Stage(Asking(backend, HOOKED, lambda: 0.0))
    backend.on_ask = lambda: stage.denials.apply(Denial(ROOM, ALICE.user, 1))
    with pytest.raises(PermissionDenied, match="removed"):
        await stage.events.publish(ALICE, PAID, Client())
    stage.denials.until.clear()
    assert (await stage.read()).events == []


async def test_first_events_make_channels() -> None:
    """They count as first messages do; an event that is in no log makes none."""
    rates = {Bucket.NEW_CHANNEL: Rate(0.01, 2)}
    stage = Stage(fresh=FreshChannels(rates, {}, lambda _: False, asyncio.get_running_loop().time))
    for number in range(2):
        await stage.events.publish(ALICE, Publish(channel=f"room:{number}", name="a", data=1))
    third = Publish(channel=ChannelName("room:9"), name="a", data=1)
    with pytest.raises(RateLimited):
        await stage.events.publish(ALICE, third)
    assert await stage.events.publish(ALICE, third.model_copy(update={"log": False})) is None
    assert await stage.events.publish(identity("bob"), third) is not None
