"""The log and the bus in NATS."""

from contextlib import AsyncExitStack

from server.bootstrap.stores.record import Bus, Stores
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:  # noqa: ARG001  # not built yet
    """Open the log and all that is in the same store. Raises `StartRefused`."""
    raise StartRefused("MARU_MESSAGE_LOG: nats is not in this version")


async def beside(settings: Settings, bus: Bus, resources: AsyncExitStack) -> Bus:  # noqa: ARG001  # not built yet
    """Return the bus with the hints over NATS. Raises `StartRefused`."""
    raise StartRefused("MARU_BROADCAST: nats is not in this version")
