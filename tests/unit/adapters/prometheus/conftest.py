"""Counters of a replica that nothing has happened to."""

import pytest

from tests.doubles.metrics import ScrapedCounters


@pytest.fixture
def scraped() -> ScrapedCounters:
    """Every test has counters of its own."""
    return ScrapedCounters()
