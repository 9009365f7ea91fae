"""A message log whose storage can be taken away, slowed down, or replaced by an older one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.errors import MaruError
from server.domain.events import Event
from server.domain.messages import Message, MessageId, Tombstone
from server.ports.message_log import Done, MessageLog, Page, Replay

Pause = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """The pause of a log that answers within the same loop iteration."""


class Gate:
    """A pause that lasts until it is opened. `reached` is set when the first caller gets to it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def __call__(self) -> None:
        """Wait at the gate."""
        self.reached.set()
        await self._opened.wait()

    def open(self) -> None:
        """Let the waiting callers and all later ones through."""
        self._opened.set()


class FaultyLog(MessageLog):
    """The log `inner` behind a bad line.

    Each call raises `error` while it is set. Each call awaits `before`, then asks `inner`, then awaits `after`. `hints`
    says that the log has hinted at its events. `written` has each new event, `noted` each that `note` was called for;
    `reads` counts the calls of `read`.
    """

    def __init__(self, inner: MessageLog) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.hints = self.crowded_now = False
        self.before: Pause = at_once
        self.after: Pause = at_once
        self.written: list[Event] = []
        self.noted: list[Event] = []
        self.reads = 0
        self._tasks: list[asyncio.Future[None]] = []

    async def append(self, draft: Draft) -> Appended:
        await self._reach()
        appended = await self.inner.append(draft)
        appended = replace(appended, hinted=self.hints)
        if not appended.duplicate:
            self.written.append(appended.event)
        await self.after()
        return appended

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        """As `append`, in a task. A sender that has failed is refused, as long as the test has let it fail."""

        async def write() -> None:
            outcome: Appended | Exception
            try:
                outcome = await self.append(draft)
            except MaruError as error:
                outcome = error
                sender.failed = sender.failed or error.retryable
            done(outcome)

        self._tasks.append(asyncio.ensure_future(write()))

    @property
    def crowded(self) -> bool:
        return self.crowded_now

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        self.reads += 1
        await self._reach()
        replay = await self.inner.read(channel, after, limit)
        await self.after()
        return replay

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        await self._reach()
        message = await self.inner.message(channel, id)
        await self.after()
        return message

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        await self._reach()
        page = await self.inner.history(channel, before, after, limit)
        await self.after()
        return page

    def note(self, event: Event) -> None:
        self.noted.append(event)
        self.inner.note(event)

    async def _reach(self) -> None:
        await self.before()
        if self.error is not None:
            raise self.error
