"""The rate of a key's requests."""

import pytest

from server.application.limits.key_rates import KeyRates
from server.domain.errors import RateLimited
from server.domain.gcra import Rate
from server.domain.rates import Bucket

RATES = {Bucket.API_KEY: Rate(10.0, 2)}


def test_a_key_has_its_rate() -> None:
    """The burst passes, then the wait that is told always suffices; another key has a bucket of its own."""
    now = [100.0]
    rates = KeyRates(RATES, lambda: now[0])
    rates.take("shop")
    rates.take("shop")
    with pytest.raises(RateLimited) as refused:
        rates.take("shop")
    assert (refused.value.scope, refused.value.retry_after_ms) == ("api_key", 100)
    rates.take("desk")
    now[0] += 0.101
    rates.sweep()
    rates.take("shop")


def test_without_a_rate_nothing_is_refused() -> None:
    """As if each bucket were full."""
    rates = KeyRates({}, lambda: 0.0)
    for _ in range(1_000):
        rates.take("shop")
