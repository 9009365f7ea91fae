"""One attempt at a session: a connection, and the work that ends with it."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from maru_bot.connection import Connection
from maru_bot.errors import MaruError


@dataclass(eq=False, slots=True)
class Attempt:
    """A connection from its opening to its end, with its tasks; `move_at` once its server stops."""

    tasks: asyncio.TaskGroup
    """Tasks that end with the connection."""

    connection: Connection = field(init=False)

    resumed: set[str] = field(default_factory=set)
    """Channels that it has resumed while an older connection was in use."""

    move_at: float | None = None
    """When its server wants the next connection to be opened, on the monotonic clock."""

    def leave(self, name: str) -> None:
        """Leave a channel, in a task. If that fails, the next connection does not name the channel."""
        self.tasks.create_task(say_leave(self.connection, name))


async def say_leave(connection: Connection, name: str) -> None:
    """Leave a channel on one connection; an error means that the connection is not in it any more."""
    with contextlib.suppress(MaruError):
        await connection.command("channel:leave", {"channel": name}, lambda _: None)
