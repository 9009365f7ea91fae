"""A client's commands that are under way without a task. They are answered in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from server.domain.drafts import Sender
from server.gateway.websocket.settling import finish

UNDER_WAY_LIMIT = 128
"""Commands of a client that may be under way. Further commands wait in the mailbox."""


class Pending(Protocol):
    """A command under way. `frame` is its answer, once there is an answer."""

    frame: bytes | None


class Lane:
    """Keeps the commands of a connection that are under way, oldest first; `write` writes their answers. Drop a lane
    that is empty: the next lane has a sender that has not failed."""

    __slots__ = {
        "_pending": "The commands under way, in the order in which they came.",
        "_target": "How many commands may still be under way when `_waiter` is to be done.",
        "_waiter": "What `shrunk` waits for; None if nothing waits.",
        "_write": "Writes an answer to the client.",
        "sender": "The sender of the commands, for the log.",
    }

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._pending: deque[Pending] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._target = 0
        self.sender = Sender()

    def __len__(self) -> int:
        """Return how many commands are under way."""
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether as many commands are under way as may be."""
        return len(self._pending) >= UNDER_WAY_LIMIT

    @property
    def takes(self) -> bool:
        """Whether a further command may be begun. After a failure none may, until the others are answered."""
        return not (self.is_full or self.sender.failed)

    def begin(self, command: Pending) -> None:
        """Add a command. Call `answer` once its `frame` is there, or `take_back` at once."""
        self._pending.append(command)

    def take_back(self) -> None:
        """Remove the command that was added last: it takes another way."""
        self._pending.pop()

    def answer(self) -> None:
        """Write the answers that no earlier command keeps waiting."""
        pending = self._pending
        while pending and (frame := pending[0].frame) is not None:
            pending.popleft()
            self._write(frame)
        if self._waiter is not None and len(pending) <= self._target:
            finish(self._waiter)

    async def shrunk(self, target: int) -> None:
        """Wait until at most `target` commands are under way. A single task may wait."""
        if len(self._pending) > target:
            self._target = target
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
