"""The buckets: the names and rates that are promised, and how some are replaced."""

from server.domain.gcra import Rate
from server.domain.rates import DEFAULTS, IN_TIERS, OFF, Bucket, replaced


def test_the_defaults() -> None:
    """As PROTOCOL.md promises them."""
    assert {str(bucket): (rate.per_s, rate.burst) for bucket, rate in DEFAULTS.items()} == {
        "session": (50, 200),
        "send_user": (10, 50),
        "join_session": (20, 600),
        "read_session": (20, 100),
        "mark_session": (5, 20),
        "typing_session": (2, 10),
        "emit_session": (20, 40),
        "refresh_session": (0.1, 5),
        "inbox_user": (0.1, 3),
        "new_channel_user": (0.02, 120),
        "channel": (200, 400),
        "address": (20, 200),
        "api_key": (200, 400),
    }


def test_a_tier_has_the_buckets_of_a_client() -> None:
    """Those of a session or a user."""
    assert {bucket for bucket in Bucket if bucket.endswith(("_session", "_user"))} | {Bucket.SESSION} == IN_TIERS


def test_replaced() -> None:
    """Single rates change; `OFF` takes one out, also one that was never there."""
    rates = {Bucket.SESSION: Rate(1.0, 2), Bucket.SEND: Rate(3.0, 4)}
    assert replaced(rates, {}) == rates
    assert replaced(rates, {Bucket.SEND: OFF, Bucket.JOIN: OFF, Bucket.SESSION: Rate(5.0, 6)}) == {
        Bucket.SESSION: Rate(5.0, 6)
    }
