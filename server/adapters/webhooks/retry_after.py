"""The header Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_CHARS = 64
"""Far more than a date has."""


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Return in how many seconds to try again; None if the header is missing, or is neither of the two."""
    if header is None or len(header) > MAX_CHARS:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for years and zones of many digits
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
