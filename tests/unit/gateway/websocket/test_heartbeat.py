"""The heartbeat wheel: everybody pinged once a revolution, the dead found in time, nobody blamed for a stall."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.heartbeat import PING, SLOTS, Wheel
from tests.doubles.virtual_time import virtually

Clock = Callable[[], float]


class Peer:
    """What the wheel sees of a connection. It answers pings until `dies_at`, `lag` seconds late."""

    def __init__(self, clock: Clock, *, lag: float = 0.0, dies_at: float = float("inf")) -> None:
        self._clock, self._lag, self._dies_at = clock, lag, dies_at
        self.slot = 0
        self.reader = self.writer = self
        self.last_heard = clock()
        self.pings: list[float] = []
        self.intervals = 0
        self.ended: tuple[float, str] | None = None

    def write(self, data: bytes) -> None:
        """Be pinged."""
        assert data == PING
        self.pings.append(self._clock())
        asyncio.get_running_loop().call_later(self._lag, self.pong)

    def new_interval(self) -> None:
        """Be told that frames are counted anew."""
        self.intervals += 1

    def pong(self) -> None:
        """Show life, while there is any."""
        if self._clock() < self._dies_at:
            self.last_heard = self._clock()

    def has_progressed(self) -> bool:
        """Say no: nothing waits for this peer."""
        return False

    def heard_since(self, since: float) -> bool:
        """Answer for what has been heard."""
        return self.last_heard >= since

    def abort(self, cause: CloseReason, reason: str) -> None:
        """Be judged dead. Nobody takes this peer off the wheel, so it may happen again."""
        assert cause is CloseReason.PING_TIMEOUT
        self.ended = self.ended or (self._clock(), reason)


def connection(peer: Peer) -> Connection:
    """The peer, as the wheel's type."""
    return cast(Connection, peer)


def turning(
    interval: float, timeout: float, scenario: Callable[[Wheel, Clock], Awaitable[None]], clock: Clock | None = None
) -> None:
    """Run a scenario beside a turning wheel, in virtual time."""

    async def run() -> None:
        now = clock or asyncio.get_running_loop().time
        wheel = Wheel(interval, timeout, now)
        turning = asyncio.create_task(wheel.run())
        await scenario(wheel, now)
        turning.cancel()

    virtually(run)


def test_everybody_is_pinged_once_a_revolution() -> None:
    """In each interval every connection gets one ping, and no moment's portion is above its share."""

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        peers = [Peer(clock) for _ in range(SLOTS * 10)]
        for peer in peers:
            wheel.add(connection(peer))
        await asyncio.sleep(30.05)
        assert {(len(peer.pings), peer.intervals) for peer in peers} == {(3, 3)}
        for peer in peers:
            assert [round(later - earlier, 6) for earlier, later in zip(peer.pings, peer.pings[1:], strict=False)] == [
                10.0,
                10.0,
            ]
        moments = [round(peer.pings[0], 6) for peer in peers]
        assert {moments.count(moment) for moment in moments} == {10}

    turning(10, 10, scenario)


@settings(max_examples=25)  # each turns the wheel some 300 times
@given(dies_at=st.floats(0.0, 25.0), lag=st.floats(0.0, 9.0), slot=st.integers(0, SLOTS - 1))
def test_the_dead_are_found_within_the_worst_case(dies_at: float, lag: float, slot: int) -> None:
    """At 10 s / 10 s a silent peer is gone at most 20.2 s after its last sign of life, and never before the timeout."""

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        for _ in range(slot):
            wheel.add(connection(Peer(clock)))
        peer = Peer(clock, lag=lag, dies_at=dies_at)
        wheel.add(connection(peer))
        await asyncio.sleep(dies_at + 20.5)
        assert peer.ended is not None
        at, reason = peer.ended
        assert reason == "ping timeout"
        assert at - peer.last_heard <= 20.2
        assert at - max(ping for ping in peer.pings if ping <= at - 10) >= 10

    turning(10, 10, scenario)


@settings(max_examples=25)
@given(lag=st.floats(0.0, 9.9), interval=st.sampled_from([2, 10, 25]))
def test_the_living_are_never_ended(lag: float, interval: float) -> None:
    """A peer that answers within the timeout stays, also where the timeout is longer than the interval."""

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        peers = [Peer(clock, lag=lag) for _ in range(3)]
        for peer in peers:
            wheel.add(connection(peer))
        await asyncio.sleep(interval * 4 + 20)
        assert [peer.ended for peer in peers] == [None] * 3

    turning(interval, 10, scenario)


def test_a_newcomer_is_not_judged_by_an_older_ping() -> None:
    """A connection that comes into a slot after its ping has its own interval and timeout."""

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        await asyncio.sleep(15)
        peer = Peer(clock, dies_at=0.0)
        wheel.add(connection(peer))
        await asyncio.sleep(10.1)
        assert peer.ended is None
        await asyncio.sleep(10.2)
        assert peer.ended is not None

    turning(10, 10, scenario)


def test_who_has_left_is_neither_pinged_nor_judged() -> None:
    """After `remove` the wheel knows nothing of a connection, and a second one does no harm."""

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        peer = Peer(clock, dies_at=0.0)
        wheel.add(connection(peer))
        await asyncio.sleep(10.1)
        wheel.remove(connection(peer))
        wheel.remove(connection(peer))
        await asyncio.sleep(25)
        assert len(peer.pings) == 1
        assert peer.ended is None

    turning(10, 10, scenario)


@pytest.mark.parametrize(("stall", "ended"), [(0.0, True), (0.9, True), (1.5, False), (30.0, False)])
def test_a_stalled_server_forgives_one_round(stall: float, ended: bool) -> None:
    """Where the loop was late by more than a second, pongs may lie unread: those pings count for nothing."""
    late = 0.0

    async def scenario(wheel: Wheel, clock: Clock) -> None:
        nonlocal late
        peer = Peer(clock, dies_at=0.0)
        wheel.add(connection(peer))
        await asyncio.sleep(10.1)
        assert peer.ended is None
        late = stall
        await asyncio.sleep(0.2)
        assert (peer.ended is not None) is ended
        await asyncio.sleep(20.2)
        assert peer.ended is not None

    turning(10, 10, scenario, lambda: asyncio.get_running_loop().time() + late)
