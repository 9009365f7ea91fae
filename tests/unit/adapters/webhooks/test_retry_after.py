"""The header Retry-After."""

from datetime import UTC, datetime

import pytest

from server.adapters.webhooks.retry_after import retry_after_s

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 40, 999_999_999.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 12:00:30", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Sat, 31 Jan 99999999999999999999 12:00:30 GMT", None),
        ("Sat, 31 Jan 2026 99999999999999999999:00:30 GMT", None),
        ("Sat, 31 Jan 2147483648 12:00:30 GMT", None),
        ("Sat, 31 Jan 2026 12:00:30 +99999999999999999999", None),
        ("\u0661\u0662", None),
        ("x" * 65, None),
    ],
)
def test_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    """Anything else is as if it were not there."""
    assert retry_after_s(header, NOW) == seconds
