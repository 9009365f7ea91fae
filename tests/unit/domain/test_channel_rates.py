"""The rate of events of each channel."""

import pytest

from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.gcra import Rate

ROOM, OTHER = ChannelName("room"), ChannelName("other")


def test_a_channel_has_a_rate() -> None:
    """Its own; what was not written may be given back; full buckets are forgotten."""
    now = 10.0
    rates = ChannelRates(Rate(1.0, 2), lambda: now)
    for _ in range(2):
        rates.take(ROOM, now)
    with pytest.raises(RateLimited) as refused:
        rates.take(ROOM, now)
    assert (refused.value.scope, refused.value.retry_after_ms) == ("channel", 1_000)
    rates.take(OTHER, now)
    rates.give_back([ROOM])
    rates.take(ROOM, now)
    with pytest.raises(RateLimited):
        rates.take(ROOM, now)
    now = 12.5
    rates.sweep()
    rates.take(ROOM, now)


def test_without_a_rate_nothing_is_refused() -> None:
    """However much is written."""
    rates = ChannelRates(None)
    for _ in range(10_000):
        rates.take(ROOM, 1.0)
    rates.give_back([ROOM])
