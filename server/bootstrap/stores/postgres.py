"""The log and the bus in PostgreSQL."""

from contextlib import AsyncExitStack

from server.bootstrap.stores.record import Stores
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:  # noqa: ARG001  # not built yet
    """Open the log and all that is in the same store. Raises `StartRefused`."""
    raise StartRefused("MARU_MESSAGE_LOG: postgres is not in this version")
