"""Topics over NATS: an outage is told and heals, and a replica gets the messages of its own channels alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters.nats.bus import NatsBus
from server.adapters.nats.link import Link
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from tests.harness.nats import NatsProcess
from tests.harness.waiting import polled, until

ROOM, HALL = ChannelName("room:1"), ChannelName("hall:2.b")

DEADLINE_S = 10.0


class Side:
    """A replica's bus, and what it has heard."""

    def __init__(self, url: str) -> None:
        self.link = Link(url)
        self.bus = NatsBus(self.link)
        self.heard: list[tuple[ChannelName, bytes]] = []
        self.restored = 0
        self.changed = asyncio.Event()
        self.bus.on_message = self._take
        self.bus.on_restored.append(self._restore)

    def _take(self, channel: ChannelName, payload: bytes) -> None:
        self.heard.append((channel, payload))
        self.changed.set()

    def _restore(self) -> None:
        self.restored += 1
        self.changed.set()

    async def hears(self, *expected: tuple[ChannelName, bytes]) -> None:
        """It has heard this, and nothing else."""
        await until(lambda: self.heard == list(expected), self.changed, DEADLINE_S, lambda: f"heard {self.heard}")

    async def publishes(self, channel: ChannelName, payload: bytes) -> None:
        """Publish once the server answers again."""
        while True:
            try:
                return await self.bus.publish(channel, payload)
            except Unavailable:
                await self.bus.linked.wait()


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    """A NATS of the test's own."""
    async with NatsProcess(tmp_path / "nats") as process:
        yield process


@pytest.fixture
async def side(nats: NatsProcess) -> AsyncIterator[Side]:
    """A replica."""
    side = Side(nats.url)
    async with side.link:
        yield side


async def test_a_replica_gets_its_own_channels_alone(nats: NatsProcess, side: Side) -> None:
    """NATS sends it nothing of the others: not a byte, and nothing is looked at."""
    other = Side(nats.url)
    async with other.link:
        await side.bus.subscribe(HALL)
        for number in range(100):
            await other.bus.publish(ROOM, b"%d" % number)
        await other.bus.publish(HALL, b"mine")
        await side.hears((HALL, b"mine"))
        assert side.link.client.stats["in_msgs"] < 20  # the link's own pulses


@pytest.mark.parametrize("freezes", [False, True])
async def test_an_outage_is_told_and_heals(nats: NatsProcess, side: Side, *, freezes: bool) -> None:
    """`Unavailable` within 2 s for every call; then the channels are heard again, and `on_restored` is called."""
    await side.bus.subscribe(HALL)
    (nats.freeze if freezes else nats.kill)()
    failed = list[int]()
    async with asyncio.timeout(DEADLINE_S):
        while side.bus.linked.is_set():
            began = asyncio.get_running_loop().time()
            calls = [side.bus.publish(ROOM, b"lost"), side.bus.subscribe(ROOM), side.bus.unsubscribe(ROOM)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert asyncio.get_running_loop().time() - began < 2.5
            assert all(result is None or isinstance(result, Unavailable) for result in results)
            side.bus.tell(ROOM, b"lost", lambda: failed.append(1))
    side.bus.tell(ROOM, b"lost", lambda: failed.append(1))
    await polled(lambda: bool(failed), DEADLINE_S, lambda: "a payload that is told without a link has failed")
    if freezes:
        nats.thaw()
    else:
        await nats.start()
    await until(lambda: side.restored == 2, side.changed, DEADLINE_S, lambda: "the link is whole again")
    await side.publishes(HALL, b"again")
    await polled(lambda: (HALL, b"again") in side.heard, DEADLINE_S, lambda: f"heard {side.heard}")
    assert side.bus.losses == 1


async def test_a_channel_wanted_during_an_outage_is_heard_after_it(nats: NatsProcess, side: Side) -> None:
    """Although the call failed; a channel that is given up meanwhile is not."""
    await side.bus.subscribe(ROOM)
    nats.kill()
    await polled(lambda: not side.bus.linked.is_set(), DEADLINE_S, lambda: "the link is lost")
    with pytest.raises(Unavailable):
        await side.bus.subscribe(HALL)
    await side.bus.unsubscribe(ROOM)
    await nats.start()
    await side.publishes(ROOM, b"given up")
    await side.publishes(HALL, b"wanted")
    await side.hears((HALL, b"wanted"))


async def test_what_is_told_comes_in_order(side: Side) -> None:
    """Up to the bound; beyond it the rest fails at once."""
    await side.bus.subscribe(ROOM)
    failed = list[int]()
    for number in range(10_500):
        side.bus.tell(ROOM, b"%d" % number, lambda: failed.append(1))
    assert len(failed) == 500
    await side.hears(*((ROOM, b"%d" % number) for number in range(10_000)))
