"""The limiter in virtual time: how much passes, what a refusal says, and that it takes nothing."""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.application.limits.forgetting import forget_full
from server.application.limits.limiter import Allowance, Limiter, Shortage
from server.domain.gcra import Rate, whole_ms
from server.domain.identity import CompiledGrants, Identity, UserId
from server.domain.rates import OFF, Bucket, Rates
from tests.doubles.virtual_time import virtually

RATES: Rates = {Bucket.SESSION: Rate(5.0, 8), Bucket.SEND: Rate(2.0, 4), Bucket.READ: Rate(1.0, 2)}

BUCKETS: Mapping[str, Bucket | None] = {
    "send": Bucket.SEND,
    "edit": Bucket.SEND,
    "read": Bucket.READ,
    "refresh": Bucket.REFRESH,
    "leave": None,
}


def identity(user: str = "alice", tier: str | None = None) -> Identity:
    """A token's claims."""
    return Identity(UserId(user), None, CompiledGrants({}), 0, tier=tier)


def limiter(
    rates: Rates = RATES, tiers: Mapping[str, Rates] | None = None, clock: Callable[[], float] = lambda: 0.0
) -> Limiter:
    """A limiter of this test's commands."""
    return Limiter(rates, tiers or {}, BUCKETS, clock)


def short(bucket: Bucket, wait: float) -> Shortage:
    """About this shortage."""
    return Shortage(bucket, cast(float, pytest.approx(wait)))


def passed(allowance: Allowance, command: str, times: int, now: float = 1.0) -> int:
    """How many of so many commands are taken."""
    return sum(allowance.take(command, now) is None for _ in range(times))


def test_a_quiet_bucket_refuses_no_command() -> None:
    """Its commands pass as those without a bucket; the use case asks the bucket, and is told how long to wait."""
    rates = {Bucket.SESSION: Rate(5.0, 8), Bucket.TYPING: Rate(2.0, 3)}
    quiet = Limiter(rates, {}, {"type": Bucket.TYPING, "mark": Bucket.MARK}, lambda: 0.0).allowance(identity())
    assert passed(quiet, "type", 10) == 8
    assert [quiet.take_quietly(Bucket.TYPING, 1.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(0.5)]
    assert quiet.take_quietly(Bucket.TYPING, 1.5) == 0.0
    assert [quiet.take_quietly(Bucket.MARK, 1.0) for _ in range(100)] == [0.0] * 100


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 2.0),
        st.sampled_from([*BUCKETS, "unknown"]),
        st.integers(0, 2),  # which session: two are of one user
    ),
    max_size=120,
)


@given(STEPS)
def test_no_window_holds_more_than_rate_and_burst(steps: list[tuple[float, str, int]]) -> None:
    """Whatever the mixture of commands and sessions: in any time T, at most rate x T + burst of each bucket pass; a
    refused command passes after the wait that it is told, and not 11 ms earlier; and it has taken nothing."""
    limits = limiter()
    sessions = [limits.allowance(identity(user)) for user in ("alice", "alice", "bob")]
    users = ["alice", "alice", "bob"]
    taken: dict[tuple[str, object], list[float]] = {}
    now = 100.0
    for pause, command, number in steps:
        now += pause
        allowance = sessions[number]
        before = allowance.shortage(command, now)
        shortage = allowance.take(command, now)
        if shortage is not None:
            assert shortage == before
            assert allowance.shortage(command, now) == before
            ms = whole_ms(shortage.wait)
            assert allowance.shortage(command, now + (ms - 11) / 1_000).wait > 0
            now += ms / 1_000
            assert allowance.take(command, now) is None
        taken.setdefault(("session", number), []).append(now)
        if command in ("send", "edit"):
            taken.setdefault(("send", users[number]), []).append(now)
        elif command == "read":
            taken.setdefault(("read", number), []).append(now)
    rates = {"session": RATES[Bucket.SESSION], "send": RATES[Bucket.SEND], "read": RATES[Bucket.READ]}
    for (name, _), times in taken.items():
        rate = rates[name]
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= rate.burst + rate.per_s * (times[last] - start) + 1e-6


def test_the_tightest_bucket_is_named() -> None:
    """The one that has to be waited for the longest."""
    allowance = limiter().allowance(identity())
    assert passed(allowance, "send", 5) == 4
    assert allowance.take("send", 1.0) == short(Bucket.SEND, 0.5)
    assert passed(allowance, "leave", 5) == 4
    assert allowance.take("leave", 1.0) == short(Bucket.SESSION, 0.2)
    assert allowance.take("send", 1.0) == short(Bucket.SEND, 0.5)
    assert allowance.take("send", 1.45) == short(Bucket.SEND, 0.05)
    assert allowance.take("read", 1.0) == short(Bucket.SESSION, 0.2)


def test_a_refusal_takes_nothing_of_the_other_bucket() -> None:
    """However often a client is refused a send, it may go on with other commands, and the reverse."""
    allowance = limiter().allowance(identity())
    assert passed(allowance, "send", 100) == 4
    assert passed(allowance, "leave", 100) == 4
    other = limiter().allowance(identity())
    assert passed(other, "leave", 100) == 8
    assert other.take("send", 1.0) == short(Bucket.SESSION, 0.2)
    assert passed(other, "send", 100, now=3.0) == 4


def test_sessions_of_a_user_share_a_bucket() -> None:
    """That of changes, and no other; other users have their own."""
    limits = limiter()
    first, second, other = [limits.allowance(identity(user)) for user in ("alice", "alice", "bob")]
    assert passed(first, "send", 3) + passed(second, "edit", 3) == 4
    assert passed(other, "send", 10) == 4
    assert passed(first, "read", 3) == passed(second, "read", 3) == 2


def test_tiers() -> None:
    """A tier replaces single rates; an unknown tier replaces none; other plans may come with another token."""
    limits = limiter(tiers={"bot": {Bucket.SEND: Rate(2.0, 6), Bucket.SESSION: OFF}, "none": {Bucket.SEND: OFF}})
    assert passed(limits.allowance(identity("a", "bot")), "send", 10) == 6
    assert passed(limits.allowance(identity("b", "unknown")), "send", 10) == 4
    changed = limits.allowance(identity("c"))
    assert passed(changed, "send", 10) == 4
    changed.plans = limits.plans(identity("c", "none"))
    assert passed(changed, "send", 10) == 4  # as many as the session may have


def test_a_bucket_that_is_off_limits_nothing() -> None:
    """Neither that of the session nor a second one."""
    assert passed(limiter({}).allowance(identity()), "send", 10_000) == 10_000
    assert passed(limiter({Bucket.SEND: Rate(1.0, 3)}).allowance(identity()), "leave", 10_000) == 10_000
    assert passed(limiter({Bucket.SEND: Rate(1.0, 3)}).allowance(identity()), "send", 10_000) == 3
    assert passed(limiter({Bucket.SESSION: Rate(1.0, 3)}).allowance(identity()), "refresh", 10_000) == 3


@pytest.mark.parametrize("command", ["send", "read", "leave"])
def test_a_command_is_given_back(command: str) -> None:
    """Soon after it was taken, so that it counts for nothing; a bucket that has earned it by then keeps what it has."""
    allowance = limiter().allowance(identity())
    whole = passed(allowance, command, 100)
    allowance.give_back(command, 0.01)
    assert passed(allowance, command, 100) == 1
    allowance.give_back(command, 5.0)
    assert passed(allowance, command, 100) == 0
    assert passed(allowance, command, 100, now=1_000.0) == whole


def test_nothing_is_given_back_that_was_not_taken() -> None:
    """A bucket that was forgotten meanwhile is full."""
    limits = limiter({Bucket.SEND: Rate(1.0, 2), Bucket.READ: Rate(1.0, 2)})
    allowance = limits.allowance(identity())
    allowance.give_back("send", 0.0)
    allowance.give_back("read", 0.0)
    assert passed(allowance, "send", 10) == passed(allowance, "read", 10) == 2


def test_full_buckets_are_forgotten() -> None:
    """Those of users, by a task, within some seconds of being full."""

    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        limits = limiter(clock=clock)
        sweeping = asyncio.create_task(forget_full([limits.sweep]))
        limits.allowance(identity("early")).take("send", clock())
        await asyncio.sleep(1.75)
        limits.allowance(identity("late")).take("send", clock())
        await asyncio.sleep(0.35)
        assert list(limits.users[Bucket.SEND].earned) == ["late"]
        sweeping.cancel()

    virtually(scenario)


def test_a_new_session_of_a_connection_goes_on_with_the_old_ones_rates() -> None:
    """Neither the bucket of all commands nor another of its own is full again; those of the user are the user's."""
    limits = limiter()
    former, fresh = limits.allowance(identity()), limits.allowance(identity("bob"))
    assert passed(former, "read", 2) == 2
    assert passed(former, "leave", 4) == 4
    fresh.follow(former)
    assert passed(fresh, "read", 1) == 0
    assert passed(fresh, "send", 2) == 2
    assert passed(fresh, "leave", 1) == 0


def test_a_second_take_by_the_payload() -> None:
    """It takes from its own bucket alone, and is given back alone; a bucket without a rate limits nothing."""
    later = {"said": Bucket.SEND, "shown": Bucket.READ, "told": Bucket.EMIT}
    rates = Limiter(RATES, {}, BUCKETS, lambda: 0.0, later)
    alice, too = rates.allowance(identity()), rates.allowance(identity())
    assert (passed(alice, "said", 9), passed(too, "said", 9), passed(alice, "shown", 9)) == (4, 0, 2)
    assert (passed(alice, "told", 99), passed(alice, "leave", 99)) == (99, 8)
    alice.give_back("said", 0.0)
    assert passed(too, "said", 9) == 1
    assert alice.take("said", 1.0) == short(Bucket.SEND, 0.5)
