"""Hints over Kafka, beside a store that carries all else."""

from contextlib import AsyncExitStack

from server.bootstrap.stores.record import Bus
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def beside(settings: Settings, bus: Bus, resources: AsyncExitStack) -> Bus:  # noqa: ARG001  # not built yet
    """Return the bus with the hints over Kafka. Raises `StartRefused`."""
    raise StartRefused("MARU_BROADCAST: kafka is not in this version")
