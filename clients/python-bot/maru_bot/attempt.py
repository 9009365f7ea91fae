"""One attempt at a session: a connection, and the work that ends with it."""

import asyncio
from dataclasses import dataclass, field

from maru_bot.channel import Channel
from maru_bot.connection import Connection
from maru_bot.events import Position


@dataclass(eq=False, slots=True)
class Attempt:
    """A connection from its opening to its end, with its tasks; `move_at` once its server stops."""

    tasks: asyncio.TaskGroup
    """Tasks that end with the connection."""

    connection: Connection = field(init=False)

    named: dict[str, tuple[Channel, Position]] = field(default_factory=dict)
    """Channels that CONNECT has named, with their positions, and that were not answered yet."""

    entered: set[str] = field(default_factory=set)
    """Names of the channels that the server has resumed."""

    resumed: set[Channel] = field(default_factory=set)
    """Channels that it has resumed while an older connection was in use, and brings without a hole."""

    move_at: float | None = None
    """When its server wants the next connection to be opened, on the monotonic clock."""
