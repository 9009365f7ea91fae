"""The drain: its plan as numbers, and what a drainer does with it, in virtual time."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.application.life.drainer import NOTICES_PER_TURN, Drainer, DrainTiming, Move, plan
from server.domain.identity import SessionId
from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining
from server.ports.connections import ConnectionId, Connections, DrainMetrics
from server.ports.metrics import SILENT

TIMING = DrainTiming(20.0)


def ids(count: int) -> list[ConnectionId]:
    """So many connections."""
    return [ConnectionId(f"c{number}") for number in range(count)]


def peak(times: Sequence[float]) -> int:
    """The most that fall into any one second."""
    ordered = sorted(times)
    return max(bisect_left(ordered, begin + 1.0) - place for place, begin in enumerate(ordered))


# The plan


@given(count=st.integers(0, 3_000), timeout=st.floats(0, 120), seed=st.integers())
def test_everybody_has_a_place_in_time(count: int, timeout: float, seed: int) -> None:
    """Each connection once; asked within the window, closed a grace later, and that early enough to end in time."""
    timing = DrainTiming(timeout).fitted()
    moves = plan(ids(count), timing, Random(seed))
    assert sorted(move.connection for move in moves) == sorted(ids(count))
    assert all(0 <= move.reconnect_at <= timing.window_s for move in moves)
    assert all(move.close_at == move.reconnect_at + timing.grace_s for move in moves)
    assert all(earlier.close_at <= later.close_at for earlier, later in pairwise(moves))
    end = timing.answer_s + timing.close_s + timing.finish_s
    assert all(move.close_at + end <= timeout + 1e-6 for move in moves)


@pytest.mark.parametrize("count", [1, 10, 100, 650, 1_000, 10_000])
def test_the_pace_is_even(count: int) -> None:
    """In no second do more move than the pace and two, whatever the seed."""
    for seed in range(5):
        moves = plan(ids(count), TIMING, Random(seed))
        pace = max(count / TIMING.window_s, TIMING.slowest_pace)
        assert peak([move.reconnect_at for move in moves]) <= pace + 2


def test_few_clients_are_not_kept_waiting() -> None:
    """Ten are asked within a fifth of a second, and a hundred within two."""
    assert plan(ids(10), TIMING, Random(1))[-1].reconnect_at <= 0.2
    assert plan(ids(100), TIMING, Random(1))[-1].reconnect_at <= 2.0


def test_the_order_is_shuffled() -> None:
    """Who came first is not sent away first; another drain has another order."""
    first, second = (plan(ids(100), TIMING, Random(seed)) for seed in (1, 2))
    assert len({tuple(ids(100)), tuple(m.connection for m in first), tuple(m.connection for m in second)}) == 3


def test_the_default_numbers() -> None:
    """20 s: clients are asked to move over 13.1 s, from the first; the last one is closed 15.1 s after the signal."""
    assert TIMING.fitted() == TIMING
    assert TIMING.window_s == pytest.approx(13.1)


@pytest.mark.parametrize("timeout", [0.0, 1.0, 6.9])
def test_a_short_timeout_shortens_everything(timeout: float) -> None:
    """Without room for a window, all are asked at once, and the other times shrink alike."""
    fitted = DrainTiming(timeout).fitted()
    assert fitted.window_s == pytest.approx(0.0)
    assert fitted.grace_s / TIMING.grace_s == pytest.approx(timeout / 6.9)
    assert fitted.finish_s / TIMING.finish_s == pytest.approx(timeout / 6.9)


def test_numbers_of_nothing() -> None:
    """Where each part takes no time, there is nothing to shorten."""
    nothing = DrainTiming(5.0, grace_s=0.0, answer_s=0.0, close_s=0.0, finish_s=0.0)
    assert nothing.fitted() == nothing


def test_a_notice_counts_from_when_it_is_given() -> None:
    """In whole milliseconds, and never below zero."""
    move = Move(ConnectionId("c"), 3.0, 5.0)
    assert move.notice(0.0) == SessionDraining(3_000, 5_000)
    assert move.notice(3.5) == SessionDraining(0, 1_500)


# The drainer


class Scripted(Connections):
    """Clients that behave as told: `leaves` go when asked to, `stays` are closed, `deaf` have to be cut off, `hung`
    can't be ended at all, `linger` are closed and do not go. Connections in `mute` have no session; `sent_away` are not
    through the door, and do not go either."""

    def __init__(
        self,
        leaves: Sequence[ConnectionId] = (),
        stays: Sequence[ConnectionId] = (),
        deaf: Sequence[ConnectionId] = (),
        hung: Sequence[ConnectionId] = (),
        mute: Sequence[ConnectionId] = (),
        linger: Sequence[ConnectionId] = (),
        sent_away: Sequence[ConnectionId] = (),
    ) -> None:
        self.left = [*leaves, *stays, *deaf, *hung, *mute, *linger, *sent_away]
        self.notices: dict[ConnectionId, SessionDraining] = {}
        self.ended: dict[ConnectionId, float] = {}
        self.shut_at: float | None = None
        self._leaves, self._deaf, self._hung, self._mute = set(leaves), set(deaf), set(hung), set(mute)
        self._linger, self._sent_away = set(linger), set(sent_away)
        self._empty = asyncio.Event()
        self._lapse()

    def shut(self) -> Sequence[ConnectionId]:
        self.shut_at = now()
        return [connection for connection in self.left if connection not in self._sent_away]

    def of(self, session: SessionId) -> ConnectionId | None:
        return None

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        if connection in self._mute:
            return False
        self.notices[connection] = notice
        if connection in self._leaves:
            delay = notice.reconnect_in_ms / 1000 + 0.1
            asyncio.get_running_loop().call_later(delay, self._gone, connection)
        return True

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        if connection not in self.left:
            return DrainEnd.LEFT
        self.ended[connection] = now()
        await asyncio.sleep(10_000 if connection in self._hung else close_s if connection in self._deaf else 0.05)
        if connection not in self._linger:
            self._gone(connection)
        return DrainEnd.ABORTED if connection in self._deaf else DrainEnd.CLOSED

    async def gone(self, within_s: float) -> bool:
        if self.left and within_s > 0:
            await asyncio.wait((asyncio.ensure_future(self._empty.wait()),), timeout=within_s)
        return not self.left

    def abort(self) -> Sequence[ConnectionId]:
        left = self.left.copy()
        self.left.clear()
        self._lapse()
        return left

    def _gone(self, connection: ConnectionId) -> None:
        if connection in self.left:
            self.left.remove(connection)
        self._lapse()

    def _lapse(self) -> None:
        if not self.left:
            self._empty.set()


class Counting(DrainMetrics):
    """What a drainer counts."""

    def __init__(self) -> None:
        self.active: list[bool] = []
        self.notified = 0
        self.ended: dict[DrainEnd, int] = {}

    def draining(self, active: bool) -> None:
        self.active.append(active)

    def drain_notified(self, count: int = 1) -> None:
        self.notified += count

    def drain_closed(self, how: DrainEnd, count: int = 1) -> None:
        self.ended[how] = self.ended.get(how, 0) + count


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


async def drain(connections: Connections, timing: DrainTiming = TIMING, metrics: DrainMetrics = SILENT) -> float:
    """Run a drain to its end; return how long it took."""
    began = now()
    await Drainer(connections, timing, metrics, Random(7), now).run()
    return now() - began


async def test_without_clients_it_is_over_at_once() -> None:
    """No grace is waited for where nobody is there."""
    assert await drain(Scripted()) == 0.0


async def test_everybody_is_told_at_once() -> None:
    """All notices go out at the beginning, in portions; each names its own time, and its deadline a grace later."""
    scripted = Scripted(stays=ids(2 * NOTICES_PER_TURN + 1))
    metrics = Counting()
    await drain(scripted, metrics=metrics)
    assert metrics.notified == len(scripted.notices) == 2 * NOTICES_PER_TURN + 1
    graces = {notice.deadline_ms - notice.reconnect_in_ms for notice in scripted.notices.values()}
    assert graces <= {1_999, 2_000, 2_001}
    assert peak([notice.reconnect_in_ms / 1000 for notice in scripted.notices.values()]) <= 52


async def test_who_leaves_is_not_closed() -> None:
    """Where all go when they are asked to, the drain is over with the last of them."""
    scripted, metrics = Scripted(leaves=ids(100)), Counting()
    assert await drain(scripted, metrics=metrics) <= 2.2
    assert scripted.ended == {}
    assert metrics.ended == {DrainEnd.LEFT: 100}


async def test_who_stays_is_closed_in_time() -> None:
    """After the grace, at the time that was told, and no faster than the pace."""
    scripted, metrics = Scripted(stays=ids(1_000)), Counting()
    took = await drain(scripted, metrics=metrics)
    assert min(scripted.ended.values()) - (scripted.shut_at or 0.0) >= 2.0
    assert peak([*scripted.ended.values()]) <= 1_000 / TIMING.window_s + 3
    for connection, notice in scripted.notices.items():
        assert scripted.ended[connection] == pytest.approx(notice.deadline_ms / 1000, abs=0.01)
    assert took <= 15.2
    assert metrics.ended == {DrainEnd.CLOSED: 1_000}


async def test_who_does_not_answer_holds_nobody_up() -> None:
    """Closes go side by side: forty deaf clients cost one close's wait, and are counted as cut off."""
    scripted, metrics = Scripted(stays=ids(80)[40:], deaf=ids(40)), Counting()
    assert await drain(scripted, metrics=metrics) <= 2.0 + 80 / 50 + 1.9 + 0.1
    assert metrics.ended == {DrainEnd.CLOSED: 40, DrainEnd.ABORTED: 40}


async def test_what_hangs_is_cut_off() -> None:
    """Within the timeout less what is kept for the stores, whatever happens; with a line that says so."""
    scripted, metrics = Scripted(hung=ids(3), leaves=ids(5)[3:]), Counting()
    with capture_logs() as lines:
        assert await drain(scripted, metrics=metrics) == pytest.approx(19.0)
    assert metrics.ended == {DrainEnd.ABORTED: 3, DrainEnd.LEFT: 2}
    assert "drain.cut_short" in [line["event"] for line in lines]


async def test_no_time_at_all() -> None:
    """With a timeout of zero everybody is told and cut off."""
    scripted, metrics = Scripted(stays=ids(3)), Counting()
    assert await drain(scripted, DrainTiming(0.0), metrics) == 0.0
    assert metrics.notified == 3
    assert metrics.ended == {DrainEnd.ABORTED: 3}


async def test_who_has_no_session_is_closed_untold() -> None:
    """A connection whose CONNECT is being judged: it is not told, and closed like the others."""
    scripted, metrics = Scripted(mute=ids(2)), Counting()
    await drain(scripted, metrics=metrics)
    assert metrics.notified == 0
    assert metrics.ended == {DrainEnd.CLOSED: 2}


async def test_the_numbers_add_up() -> None:
    """Who left, was closed and was cut off are together those whom the drain began with, each once: without whom it
    sent away at the door, and also where one is still there after it has been counted."""
    nine = ids(9)
    scripted = Scripted(nine[:2], nine[2:3], nine[3:4], nine[4:6], linger=nine[6:7], sent_away=nine[7:])
    metrics = Counting()
    with capture_logs() as lines:
        await drain(scripted, metrics=metrics)
    assert lines[0]["connections"] == 7
    assert metrics.ended == {DrainEnd.LEFT: 2, DrainEnd.CLOSED: 2, DrainEnd.ABORTED: 3}
    assert [lines[-1][how.value] for how in DrainEnd] == [2, 2, 3]


async def test_every_step_is_a_line() -> None:
    """With its numbers; and it is counted as a drain from the beginning."""
    metrics = Counting()
    with capture_logs() as lines:
        await drain(Scripted(stays=ids(2), leaves=ids(3)[2:]), metrics=metrics)
    assert [line["event"] for line in lines] == ["stopping", "drain.notified", "drain.closed", "drained"]
    assert (lines[0]["connections"], lines[0]["timeout_s"], lines[1]["sessions"]) == (3, 20.0, 3)
    assert (lines[-1]["left"], lines[-1]["closed"], lines[-1]["aborted"]) == (1, 2, 0)
    assert metrics.active == [True]
