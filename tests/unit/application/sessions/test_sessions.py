"""Sessions: admission, renewal, notice and end."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field, replace

import pytest

from server.application.deadline import COMMAND_DEADLINE_S
from server.application.limits.error_budget import ErrorBudget
from server.application.limits.limiter import Limiter
from server.application.sessions.session import Session
from server.application.sessions.sessions import EXPIRY_NOTICE_MS, STALE_ENTRIES, SWEEP_S, Sessions
from server.domain.errors import RateLimited, TokenExpired, Unauthenticated, Unavailable
from server.domain.gcra import Rate
from server.domain.identity import SessionId
from server.domain.pushes import SessionExpiring, SessionReady
from server.domain.rates import Bucket
from tests.doubles.faulty_log import Gate
from tests.doubles.samples import HOUR_MS, NOW_MS, identity
from tests.doubles.tokens import KnownTokens
from tests.doubles.transport import RecordingTransport

ALICE = SessionId("alice's")
GRACE_MS = 5_000
EXP = NOW_MS + HOUR_MS


@dataclass
class Desk:
    """The sessions of a replica at which the test sets the clock."""

    now: int = NOW_MS
    tokens: KnownTokens = field(default_factory=KnownTokens)
    transport: RecordingTransport = field(default_factory=RecordingTransport)

    def __post_init__(self) -> None:
        self.sessions = Sessions(
            self.tokens, self.transport, self.transport.end_memberships, lambda: self.now, GRACE_MS
        )

    def open(self, expires_at: int = EXP, session: SessionId = ALICE) -> list[object]:
        """Connect and admit a session; return its inbox."""
        inbox = self.transport.connect(session)
        self.session = self.sessions.open(session, identity("alice", expires_at=expires_at))
        return inbox

    async def refresh(self, expires_at: int, user: str = "alice") -> None:
        """Hand in a token that expires then, for the session that was opened last."""
        token = self.tokens.issue(f"{user}-{expires_at}", identity(user, expires_at=expires_at))
        await self.sessions.refresh(self.session, token)

    def at(self, now: int) -> None:
        """Let it be that time, and look at expiries twice: the second look finds nothing new."""
        self.now = now
        self.sessions.expire()
        self.sessions.expire()


@pytest.fixture
def desk() -> Desk:
    """Nobody is there yet."""
    return Desk()


async def test_only_a_verified_token_is_admitted(desk: Desk) -> None:
    """A known token gives its identity, any other is `Unauthenticated`."""
    alice = identity("alice")
    desk.tokens.issue("good", alice)
    assert await desk.sessions.admit("good") is alice
    with pytest.raises(Unauthenticated):
        await desk.sessions.admit("bad")


async def test_a_token_is_judged_at_once_if_nothing_has_to_be_waited_for(desk: Desk) -> None:
    """The same identity, the same refusal, and None if the verifier would have to be waited for."""
    alice = identity("alice")
    desk.tokens.issue("good", alice)
    assert desk.sessions.admit_at_once("good") is alice
    with pytest.raises(Unauthenticated):
        desk.sessions.admit_at_once("bad")
    desk.tokens.before = gate = Gate()
    assert desk.sessions.admit_at_once("good") is None
    gate.open()
    assert await desk.sessions.admit("good") is alice


async def test_a_verifier_that_does_not_answer_is_unavailable(desk: Desk) -> None:
    """Admission waits as long as a command may, and not longer."""
    desk.tokens.before = Gate()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await desk.sessions.admit("good")
    assert asyncio.get_running_loop().time() - began == pytest.approx(COMMAND_DEADLINE_S)


def test_a_session_is_known_from_open_to_close(desk: Desk) -> None:
    """While it is open a session has its identity and counts; then it has ended. Closing twice is fine."""
    desk.open()
    assert (desk.session.identity, desk.session.ended) == (identity("alice", expires_at=EXP), False)
    assert len(desk.sessions) == 1
    assert desk.sessions.find(ALICE) is desk.session
    desk.sessions.close(desk.session)
    desk.sessions.close(desk.session)
    assert (len(desk.sessions), desk.session.ended) == (0, True)
    assert desk.sessions.find(ALICE) is None


def test_a_complete_session_is_told_so(desk: Desk) -> None:
    """`session:ready` says who one is, in which session, until when."""
    inbox = desk.open()
    desk.sessions.ready(desk.session)
    assert inbox == [SessionReady(ALICE, identity("alice").user, EXP)]


def test_a_session_that_ended_before_it_was_complete_is_told_nothing(desk: Desk) -> None:
    """A client may be gone before its channels are resumed: that is no fault."""
    inbox = desk.open()
    desk.sessions.close(desk.session)
    desk.sessions.ready(desk.session)
    assert inbox == []


def test_a_session_is_warned_60_s_before_its_token_expires(desk: Desk) -> None:
    """One notice, at 60 s before `exp` and not a millisecond earlier."""
    inbox = desk.open()
    assert EXPIRY_NOTICE_MS == 60_000
    desk.at(EXP - 60_001)
    assert inbox == []
    desk.at(EXP - 60_000)
    desk.at(EXP - 1)
    assert inbox == [SessionExpiring(EXP)]


def test_a_session_ends_at_exp_and_grace(desk: Desk) -> None:
    """It lives on through the grace and then is terminated as `token_expired`, once, and forgotten."""
    desk.open()
    desk.at(EXP - 60_000)
    desk.at(EXP + GRACE_MS - 1)
    assert desk.transport.ended == {}
    desk.at(EXP + GRACE_MS)
    assert [type(error) for error in desk.transport.ended.values()] == [TokenExpired]
    assert len(desk.sessions) == 0


def test_a_clock_that_jumps_over_both_moments_warns_and_then_ends(desk: Desk) -> None:
    """After a suspended machine wakes up, a session whose time is long over is warned and ended in the same look."""
    inbox = desk.open()
    desk.at(EXP + HOUR_MS)
    assert inbox == [SessionExpiring(EXP)]
    assert ALICE in desk.transport.ended


def test_a_token_that_is_about_to_expire_warns_at_once(desk: Desk) -> None:
    """A session that opens within the last minute is warned at the next look."""
    inbox = desk.open(NOW_MS + 10_000)
    desk.at(NOW_MS)
    assert inbox == [SessionExpiring(NOW_MS + 10_000)]


def test_each_session_has_its_own_end(desk: Desk) -> None:
    """Sessions end in the order of their tokens' `exp`; the others live on."""
    for number, lifetime in enumerate((3, 1, 2)):
        desk.open(NOW_MS + lifetime * HOUR_MS, SessionId(str(number)))
    desk.at(NOW_MS + HOUR_MS + GRACE_MS)
    assert [*desk.transport.ended] == ["1"]
    desk.at(NOW_MS + 2 * HOUR_MS + GRACE_MS)
    assert [*desk.transport.ended] == ["1", "2"]
    assert len(desk.sessions) == 1


def test_a_closed_session_is_not_warned_or_ended(desk: Desk) -> None:
    """What remains in the heap of a session that is gone does nothing."""
    inbox = desk.open()
    desk.sessions.close(desk.session)
    desk.at(EXP + HOUR_MS)
    assert (inbox, desk.transport.ended) == ([], {})


@pytest.mark.parametrize("warned", [False, True])
async def test_a_refresh_moves_the_notice_and_the_end(desk: Desk, warned: bool) -> None:
    """With a token that lasts longer, nothing happens at the old moments, and all at the new ones."""
    inbox = desk.open()
    if warned:
        desk.at(EXP - 60_000)
        inbox.clear()
    later = EXP + HOUR_MS
    await desk.refresh(later)
    assert desk.session.identity == identity("alice", expires_at=later)
    desk.at(EXP + GRACE_MS)
    desk.at(later - 60_001)
    assert (inbox, desk.transport.ended) == ([], {})
    desk.at(later - 60_000)
    assert inbox == [SessionExpiring(later)]
    desk.at(later + GRACE_MS)
    assert ALICE in desk.transport.ended


class Weighed(str):
    """A session's id whose end of life can be watched."""

    __slots__ = ("__weakref__",)


def test_sessions_that_come_and_go_leave_nothing_behind(desk: Desk) -> None:
    """However many sessions with a long token have been, the memory is that of those that are, and their ends stand."""
    desk.open()

    def come_and_go(number: int) -> "weakref.ref[Weighed]":
        name = Weighed(number)
        desk.open(EXP + HOUR_MS, SessionId(name))
        desk.sessions.close(desk.session)
        desk.transport.disconnect(SessionId(name))
        return weakref.ref(name)

    watched = [come_and_go(number) for number in range(1_000)]
    gc.collect()
    assert sum(one() is not None for one in watched) <= STALE_ENTRIES + 2
    desk.at(EXP + GRACE_MS)
    assert [*desk.transport.ended] == [ALICE]


async def test_a_refresh_with_a_shorter_token_brings_the_end_forward(desk: Desk) -> None:
    """The session lasts as long as the token that it handed in last, also where that is less."""
    inbox = desk.open()
    sooner = NOW_MS + 120_000
    await desk.refresh(sooner)
    desk.at(sooner - 60_000)
    assert inbox == [SessionExpiring(sooner)]
    desk.at(sooner + GRACE_MS)
    assert ALICE in desk.transport.ended


async def test_a_refresh_with_the_same_token_gives_no_second_notice(desk: Desk) -> None:
    """However often a client hands in the token that it has, before and after the notice, it is warned once."""
    inbox = desk.open()
    for _ in range(3):
        await desk.refresh(EXP)
    desk.at(EXP - 60_000)
    for _ in range(3):
        await desk.refresh(EXP)
        desk.at(EXP - 30_000)
    assert inbox == [SessionExpiring(EXP)]
    desk.at(EXP + GRACE_MS)
    assert ALICE in desk.transport.ended


async def test_going_back_and_forth_between_two_tokens_gives_one_notice(desk: Desk) -> None:
    """Two tabs that share a session's refreshes, each with its own token: one notice for the one that counts."""
    inbox = desk.open()
    for _ in range(10):
        await desk.refresh(EXP + HOUR_MS)
        await desk.refresh(EXP)
    desk.at(EXP - 60_000)
    assert inbox == [SessionExpiring(EXP)]
    desk.at(EXP + GRACE_MS)
    assert [*desk.transport.ended] == [ALICE]


async def test_a_token_that_ends_just_after_the_old_one_warns_in_time(desk: Desk) -> None:
    """A refresh after the notice with a token that lasts 30 s longer is warned of its own `exp`, not late."""
    inbox = desk.open()
    desk.at(EXP - 60_000)
    await desk.refresh(EXP + 30_000)
    desk.at(EXP - 30_000)
    assert inbox == [SessionExpiring(EXP), SessionExpiring(EXP + 30_000)]


async def test_the_token_of_another_user_is_refused(desk: Desk) -> None:
    """A session stays its user's: with another's token nothing changes, and the old end stands."""
    desk.open()
    with pytest.raises(Unauthenticated, match="another user") as refused:
        await desk.refresh(EXP + HOUR_MS, user="mallory")
    assert "mallory" not in str(refused.value)
    assert desk.session.identity == identity("alice", expires_at=EXP)
    desk.at(EXP + GRACE_MS)
    assert ALICE in desk.transport.ended


async def test_a_session_that_ends_during_its_refresh_stays_ended(desk: Desk) -> None:
    """A token that is verified after its session closed does not bring the session back; nor does a later one."""
    desk.open()
    gate = desk.tokens.before = Gate()
    refreshing = asyncio.create_task(desk.refresh(EXP + HOUR_MS))
    await gate.reached.wait()
    desk.sessions.close(desk.session)
    gate.open()
    await asyncio.wait([refreshing])
    assert len(desk.sessions) == 0
    with pytest.raises(Unauthenticated):
        await desk.refresh(EXP + HOUR_MS)


async def test_expiries_are_looked_at_again_and_again(desk: Desk) -> None:
    """`run` looks every 250 ms, at once when it starts, until it is cancelled."""
    inbox = desk.open()
    desk.now = EXP - 60_000
    running = asyncio.create_task(desk.sessions.run())
    await desk.transport.until(lambda: len(inbox) == 1)
    desk.now = EXP + GRACE_MS
    began = asyncio.get_running_loop().time()
    await desk.transport.until(lambda: ALICE in desk.transport.ended)
    assert asyncio.get_running_loop().time() - began == pytest.approx(SWEEP_S)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_a_session_has_what_its_tier_allows(desk: Desk) -> None:
    """From its token at CONNECT, and from each token after; without a limiter there is no allowance."""
    desk.open()
    assert desk.session.allowance is None
    await desk.refresh(EXP + 1)
    assert desk.session.allowance is None
    limiter = Limiter({}, {"bot": {Bucket.SESSION: Rate(1.0, 1)}}, {}, lambda: 0.0)
    desk.sessions = Sessions(desk.tokens, desk.transport, desk.transport.end_memberships, lambda: desk.now, 0, limiter)
    desk.session = desk.sessions.open(ALICE, identity("alice", expires_at=EXP))
    assert desk.session.allowance is not None
    assert [desk.session.allowance.take("x", 1.0) for _ in range(2)] == [None, None]
    bot = replace(identity("alice", expires_at=EXP), tier="bot")
    await desk.sessions.refresh(desk.session, desk.tokens.issue("bot", bot))
    assert [desk.session.allowance.take("x", 1.0) is None for _ in range(2)] == [True, False]


async def test_a_session_is_terminated_once(desk: Desk) -> None:
    """Its memberships end, its client is told why; a second reason changes nothing."""
    desk.open()
    why = RateLimited("too much")
    desk.sessions.terminate(desk.session, why)
    desk.sessions.terminate(desk.session, TokenExpired("later"))
    assert desk.transport.ended == {ALICE: why}
    assert len(desk.sessions) == 0
    assert desk.session.ended


def test_a_session_follows_another() -> None:
    """With limits it goes on with the other's rates and refusals; without, there is nothing to go on with."""
    limiter = Limiter({Bucket.SESSION: Rate(1.0, 1)}, {}, {}, lambda: 0.0)
    former, fresh = Session(ALICE, identity("alice")), Session(SessionId("next"), identity("alice"))
    fresh.follow(former)
    assert (fresh.allowance, fresh.refusals) == (None, None)
    former.allowance, fresh.allowance = limiter.allowance(identity("alice")), limiter.allowance(identity("alice"))
    former.refusals = ErrorBudget()
    assert former.allowance.take("x", 1.0) is None
    fresh.follow(former)
    assert fresh.refusals is former.refusals
    assert fresh.allowance.take("x", 1.0) is not None
