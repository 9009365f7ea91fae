"""The stage on which the hub is tested."""

from collections.abc import AsyncIterator

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from tests.doubles.chaotic_broadcast import Broker
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.hub_stage import HubStage
from tests.doubles.replica import replica
from tests.doubles.samples import HOUR_MS


@pytest.fixture
async def stage() -> AsyncIterator[HubStage]:
    """A replica that hears the hints of the test, over a log that keeps the last 10,000 events."""
    log = FaultyLog(MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS))
    broker = Broker()
    link = broker.link()
    async with replica(log, link) as one:
        yield HubStage(log, broker, link, one)
