"""Writing to the log of a channel, whatever is written: wait for the log, then hint at the event."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from server.application.limits.fresh_channels import FreshChannels
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import EventPublished, LogEvent, MessageCreated
from server.domain.identity import Identity
from server.ports.broadcast import Broadcast
from server.ports.metrics import SILENT, MessageMetrics


class Outcome(Protocol):
    """An outcome of the log: the event that tells of a change, if there is any, and whether it was written before."""

    @property
    def event(self) -> LogEvent | None:
        """The event."""

    @property
    def duplicate(self) -> bool:
        """Whether nothing was written now."""

    @property
    def hinted(self) -> bool:
        """Whether the log has hinted at the event."""


O = TypeVar("O", bound=Outcome)  # noqa: E741  # it is no number


class Writing:
    """Writes, then hints. `clock`, in seconds, measures how long the log takes.

    If the caller gives up waiting, the writing goes on, and its event is hinted at all the same. A duplicate is hinted
    at again, too: the first try may have died before its hint.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        metrics: MessageMetrics = SILENT,
        clock: Callable[[], float] = time.perf_counter,
        fresh: FreshChannels | None = None,
    ) -> None:
        self.broadcast = broadcast
        self.metrics = metrics
        self.clock = clock
        self._fresh = fresh  # None if users may make any number of channels
        self.wrote: Callable[[LogEvent | None], None] | None = None
        """Is called with each event that is written, if anybody wants to know. It must not raise."""
        self._hinting: set[asyncio.Future[None]] = set()  # hints under way that nobody waits for

    def on_written(self, act: Callable[[LogEvent | None], None]) -> None:
        """Call this, too, with each event that is written. It must not raise."""
        before = self.wrote
        if before is None:
            self.wrote = act
            return

        def both(event: LogEvent | None) -> None:
            before(event)
            act(event)

        self.wrote = both

    def check_new(self, identity: Identity, channel: ChannelName) -> None:
        """Raise `RateLimited` if an event may be the first of its channel, and its user has made too many channels."""
        if self._fresh is not None:
            self._fresh.check(identity, channel)

    async def finish(self, begun: Awaitable[O]) -> O:
        """Wait for a call of the log that has begun, hint at its event, and return its outcome."""
        began = self.clock()
        writing = asyncio.ensure_future(begun)
        # A future of our own, which the caller may cancel without cancelling the append. `asyncio.shield` would be
        # shorter, and makes a send 9 % slower.
        answer: asyncio.Future[O] = writing.get_loop().create_future()
        writing.add_done_callback(partial(self._written, answer, began))
        try:
            outcome = await answer
        except asyncio.CancelledError:
            # The append may have ended in the same loop iteration, so that `_written` took the caller to be waiting.
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self.hint_late(answer.result().event)
            raise
        if outcome.event is not None and not outcome.hinted:
            await self.broadcast.publish(outcome.event)
        return outcome

    def _written(self, answer: asyncio.Future[O], began: float, writing: asyncio.Future[O]) -> None:
        """Resolve the caller's future with the result. If the caller has given up, hint at the event on its behalf."""
        if writing.cancelled():
            answer.cancel()
            return
        error = writing.exception()
        if error is None:
            self.metrics.appended(self.clock() - began)
            event = writing.result().event
            if self.wrote is not None:
                self.wrote(event)
            if event is not None and event.offset == 1:
                self.wrote_first(writing.result())
        if answer.done():
            if error is None:
                self.hint_late(writing.result().event)
        elif error is None:
            answer.set_result(writing.result())
        else:
            answer.set_exception(error)

    def wrote_first(self, outcome: Outcome) -> None:
        """Count a channel that its first event has made."""
        if self._fresh is None or outcome.duplicate:
            return
        event = outcome.event
        if isinstance(event, MessageCreated):
            self._fresh.made(event.message.author.id)
        elif isinstance(event, EventPublished):
            self._fresh.made(event.author.id)

    def hint_late(self, event: LogEvent | None) -> None:
        """Hint at an event, if there is any, whose sender has given up."""
        if event is not None:
            self.keep(asyncio.ensure_future(self._hint(event)))

    def keep(self, hinting: asyncio.Future[None]) -> None:
        """Keep a task alive until it is done."""
        self._hinting.add(hinting)
        hinting.add_done_callback(self._hinting.discard)

    async def _hint(self, event: LogEvent) -> None:
        with contextlib.suppress(MaruError):  # the sender tries again, and hubs find a lost hint by comparing
            await self.broadcast.publish(event)
