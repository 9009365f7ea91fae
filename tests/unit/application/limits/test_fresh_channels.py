"""Channels that a user makes: how many, by whose rate, and what goes on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.application.limits.fresh_channels import FreshChannels
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.gcra import Rate
from server.domain.identity import Identity
from server.domain.rates import DEFAULTS, OFF, Bucket
from tests.doubles.samples import identity


def tiered(user: str, tier: str) -> Identity:
    """A token with a tier."""
    return replace(identity(user), tier=tier)


ALICE, BOB = identity("alice"), identity("bob")
BOT, FREE = tiered("bot", "bot"), tiered("free", "free")
USUAL = Rate(0.5, 4)
NEW, OLD = ChannelName("room:new"), ChannelName("room:old")


class Maker:
    """Users who write first messages."""

    def __init__(self, rate: Rate = USUAL) -> None:
        self.now = 100.0
        rates = {} if rate == OFF else {Bucket.NEW_CHANNEL: rate}
        tiers = {"bot": {Bucket.NEW_CHANNEL: Rate(10.0, 20)}, "free": {Bucket.NEW_CHANNEL: OFF}}
        self.fresh = FreshChannels(rates, tiers, {OLD}.__contains__, lambda: self.now)

    def make(self, who: Identity = ALICE) -> int:
        """Write a first message; return the milliseconds to wait if that is refused."""
        try:
            self.fresh.check(who, NEW)
        except RateLimited as error:
            return error.retry_after_ms or 0
        self.fresh.made(who.user)
        return 0


def test_so_many_at_once_and_then_at_the_rate() -> None:
    """The wait is exact; other users and known channels are not concerned."""
    maker = Maker()
    assert [maker.make() for _ in range(4)] == [0] * 4
    wait_ms = maker.make()
    assert 1_990 <= wait_ms <= 2_001
    assert maker.make(BOB) == 0
    maker.fresh.check(ALICE, OLD)
    maker.now += (wait_ms - 10) / 1000
    assert maker.make() > 0
    maker.now += 0.010
    assert maker.make() == 0
    assert maker.make() > 0


def test_a_tier_has_its_own_rate() -> None:
    """A bot makes more; a tier may be free; an unknown tier is none."""
    maker = Maker()
    assert [maker.make(BOT) for _ in range(20)] == [0] * 20
    assert 90 <= maker.make(BOT) <= 101
    assert [maker.make(FREE) for _ in range(1_000)] == [0] * 1_000
    assert sum(maker.make(tiered("other", "unknown")) == 0 for _ in range(10)) == 4


def test_without_a_rate_nobody_waits() -> None:
    """As `MARU_LIMITS` may say."""
    maker = Maker(OFF)
    assert [maker.make() for _ in range(1_000)] == [0] * 1_000


def test_by_default_people_do_not_meet_it() -> None:
    """120 conversations at once."""
    maker = Maker(DEFAULTS[Bucket.NEW_CHANNEL])
    assert [maker.make() for _ in range(120)] == [0] * 120
    assert maker.make() > 49_000


def test_full_buckets_are_forgotten() -> None:
    """A user who waits is not."""
    maker = Maker()
    for _ in range(4):
        maker.make()
    maker.fresh.sweep()
    assert maker.make() > 0
    maker.now += 60
    maker.fresh.sweep()
    assert [maker.make() for _ in range(5)].count(0) == 4


def test_the_tiers_of_users_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many users with a tier, the oldest are judged by the usual rate until they write again."""
    monkeypatch.setattr("server.application.limits.fresh_channels.MAX_KEYS", 3)
    maker = Maker()
    for number in range(10):
        assert maker.make(tiered(f"bot-{number}", "bot")) == 0


@given(st.lists(st.floats(0, 20), max_size=60))
def test_never_more_than_the_rate(pauses: list[float]) -> None:
    """In any time: the burst, and the rate times the time."""
    maker, made = Maker(), list[float]()
    for pause in pauses:
        maker.now += pause
        if not maker.make():
            made.append(maker.now)
    for first in range(len(made)):
        for last in range(first, len(made)):
            assert last - first + 1 <= 4 + 0.5 * (made[last] - made[first]) + 1e-6
