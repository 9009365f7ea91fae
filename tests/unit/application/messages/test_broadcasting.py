"""A broadcast: an outcome for each channel, in order, and few messages on their way at once."""

import asyncio
from itertools import count

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.commands import Send
from server.application.messages.broadcasting import BROADCAST_S, IN_FLIGHT, Broadcaster, Outcome
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended
from server.domain.backends import on_behalf_of
from server.domain.errors import BadRequest, Internal, RateLimited, Unavailable
from server.domain.identity import Author, UserId
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.samples import HOUR_MS, NOW_NS, some_id
from tests.doubles.virtual_time import turns, virtually

ALICE = on_behalf_of(Author(UserId("alice"), None))


class Stage:
    """A broadcaster over a log that can be slow or away."""

    def __init__(self) -> None:
        self.log = FaultyLog(MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS))
        ids = count(1)
        publisher = Publisher(self.log, MemoryBroadcast(), lambda: NOW_NS, lambda _: some_id(next(ids)))
        self.broadcaster = Broadcaster(publisher)

    async def send(self, *channels: str, key: str | None = "k") -> list[Outcome]:
        """Send one message to all; a name with a capital is none."""
        sends = [BadRequest(name) if name[0].isupper() else Send(channel=name, text="hi", key=key) for name in channels]
        return await self.broadcaster.send(ALICE, sends)


def kind(outcome: Outcome) -> str:
    """How an outcome is written in these tests."""
    if isinstance(outcome, Appended):
        return "duplicate" if outcome.duplicate else outcome.event.channel
    return outcome.code


@pytest.fixture
def stage() -> Stage:
    """For one test."""
    return Stage()


async def test_outcomes_are_in_order(stage: Stage) -> None:
    """Each at the place of its channel; an error that was known before is its own outcome. A repeat finds all."""
    names = [f"room:{number}" for number in range(150)]
    names[70] = "Bad"
    assert [kind(each) for each in await stage.send(*names)] == [*names[:70], "bad_request", *names[71:]]
    assert [kind(each) for each in await stage.send(*names)].count("duplicate") == 149


async def test_few_are_on_their_way_at_once(stage: Stage) -> None:
    """Of all broadcasts together no more than so many wait for the log."""
    gate = stage.log.before = Gate()
    reached = 0

    async def before() -> None:
        nonlocal reached
        reached += 1
        await gate()

    stage.log.before = before
    both = [asyncio.ensure_future(stage.send(*(f"{name}:{at}" for at in range(100)))) for name in ("a", "b")]
    await turns(50)
    assert reached == IN_FLIGHT
    gate.open()
    assert [len(await each) for each in both] == [100, 100]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Unavailable("away"), Unavailable.code),
        (RateLimited.by("channel", 0.5, "too many"), RateLimited.code),
        (ZeroDivisionError(), Internal.code),
    ],
)
async def test_a_channels_fault_is_its_outcome(stage: Stage, fault: Exception, code: str) -> None:
    """Whatever goes wrong, nothing is raised."""
    stage.log.error = fault
    assert [kind(each) for each in await stage.send("a", "b")] == [code, code]


def test_time_is_bounded() -> None:
    """If every channel takes its whole time, the later ones are not tried, and may be repeated."""

    async def scene() -> None:
        stage = Stage()
        stage.log.before = Gate()
        began = asyncio.get_running_loop().time()
        outcomes = await stage.send(*(f"room:{number}" for number in range(1_000)))
        assert {kind(each) for each in outcomes} == {Unavailable.code}
        assert asyncio.get_running_loop().time() - began < BROADCAST_S + 2.0
        assert "not tried" in str(outcomes[-1])

    virtually(scene)
