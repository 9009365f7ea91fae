"""A message log that writes when the test says so, in batches that may fail."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.errors import Overloaded, Unavailable
from server.domain.events import Event, LogEvent
from server.domain.messages import Message, MessageId, Tombstone
from server.ports.message_log import Done, MessageLog, Page, Replay


@dataclass(slots=True)
class _Waiting:
    draft: Draft
    sender: Sender
    done: Done


class BatchingLog(MessageLog):
    """The log `inner`, which is read at once, and written in batches: `begin`, then `commit` or `fail`.

    While it is `full`, it refuses drafts. It keeps promise 12 as a log with transactions does. If `keeps_order` is not
    set, it breaks it. `written` has each new event.
    """

    def __init__(self, inner: MemoryMessageLog, *, keeps_order: bool = True) -> None:
        self.inner = inner
        self._keeps_order = keeps_order
        self._waiting: deque[_Waiting] = deque()
        self._begun: list[_Waiting] = []
        self.written: list[LogEvent] = []
        self.full = self.crowded_now = False

    def __len__(self) -> int:
        """Return how many drafts wait or are being written."""
        return len(self._waiting) + len(self._begun)

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()

        def done(outcome: Appended | Exception) -> None:
            if answer.done():
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self.submit(draft, Sender(), done)
        return answer

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        if self.full or (sender.failed and self._keeps_order):
            sender.failed = True
            done(Overloaded("too many drafts wait"))
        else:
            self._waiting.append(_Waiting(draft, sender, done))

    @property
    def crowded(self) -> bool:
        return self.crowded_now

    def begin(self, count: int) -> None:
        """Begin to write the first drafts that wait. Those of senders that have failed are refused."""
        for _ in range(min(count, len(self._waiting))):
            waiting = self._waiting.popleft()
            if waiting.sender.failed and self._keeps_order:
                waiting.done(Unavailable("an earlier draft of the sender was refused"))
            else:
                self._begun.append(waiting)

    def commit(self) -> None:
        """Write what was begun."""

        def write(waiting: _Waiting) -> None:
            def done(outcome: Appended | Exception) -> None:
                if isinstance(outcome, Appended) and not outcome.duplicate:
                    self.written.append(outcome.event)
                waiting.done(outcome)

            self.inner.submit(waiting.draft, Sender(), done)

        self._end(write)

    def fail(self) -> None:
        """Write nothing of what was begun."""

        def refuse(waiting: _Waiting) -> None:
            waiting.sender.failed = True
            waiting.done(Unavailable("the batch was rolled back"))

        self._end(refuse)

    def _end(self, each: Callable[[_Waiting], None]) -> None:
        begun, self._begun = self._begun, []
        for waiting in begun:
            each(waiting)

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        return await self.inner.read(channel, after, limit)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        return await self.inner.message(channel, id)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        return await self.inner.history(channel, before, after, limit)

    def note(self, event: Event) -> None:
        self.inner.note(event)
