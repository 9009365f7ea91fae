"""A message on its way to the log that nobody waits for."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from server.application.deadline import COMMAND_DEADLINE_S, Watch
from server.domain.appending import Appended
from server.domain.drafts import Sender
from server.domain.errors import Unavailable
from server.domain.events import LogEvent
from server.ports.broadcast import PUBLISHED, Broadcast
from server.ports.message_log import Done
from server.ports.metrics import MessageMetrics


class Office(Protocol):
    """What submissions share."""

    broadcast: Broadcast
    metrics: MessageMetrics
    clock: Callable[[], float]
    wrote: Callable[[LogEvent | None], None] | None

    def keep(self, hinting: asyncio.Future[None]) -> None:
        """Keep a task alive until it is done."""

    def wrote_first(self, appended: Appended) -> None:
        """Take note of the first event of a channel."""

    def hint_late(self, event: LogEvent) -> None:
        """Hint at an event whose sender has been told that its message may be lost."""


class Submission:
    """Tells `done` what became of a message, once, when the log has it and the hint is on its way, or at the deadline.

    If the message is written after the deadline, the event is hinted at all the same.
    """

    __slots__ = ("_began", "_done", "_office", "_sender", "_watch", "expires_at", "over", "put_off")

    def __init__(self, office: Office, watch: Watch, sender: Sender, done: Done) -> None:
        self._office = office
        self._watch = watch
        self._sender = sender
        self._done = done
        self._began = office.clock()
        self.over, self.put_off = False, 0
        self.expires_at = watch.begin(self)

    def written(self, outcome: Appended | Exception) -> None:
        """Take the log's outcome."""
        if not isinstance(outcome, Appended):
            self._finish(outcome)
            return
        self._office.metrics.appended(self._office.clock() - self._began)
        if self._office.wrote is not None:
            self._office.wrote(outcome.event)
        if outcome.event.offset == 1:
            self._office.wrote_first(outcome)
        if self.over:
            if not outcome.hinted:
                self._office.hint_late(outcome.event)
            return
        publishing = PUBLISHED if outcome.hinted else self._office.broadcast.publish(outcome.event)
        if publishing is PUBLISHED:
            self._finish(outcome)
        else:
            hinting = asyncio.ensure_future(publishing)
            self._office.keep(hinting)
            hinting.add_done_callback(partial(self._published, outcome))

    def _published(self, outcome: Appended, hint: asyncio.Future[None]) -> None:
        error = None if hint.cancelled() else hint.exception()
        self._finish(error if isinstance(error, Exception) else outcome)

    def expire(self) -> None:
        """Give up waiting. The drafts behind this one are refused, since the client retries all of them in order."""
        self._finish(Unavailable(f"no answer from the log or the broker within {COMMAND_DEADLINE_S} s"))

    def _finish(self, outcome: Appended | Exception) -> None:
        if self.over:
            return
        self.over = True
        self._watch.tidy()
        if isinstance(outcome, Unavailable):
            self._sender.failed = True
        self._done(outcome)
