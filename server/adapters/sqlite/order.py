"""The drafts of each sender in their order: none is written behind a refused one, and outcomes are told in order."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from server.adapters.sqlite.entries import Entry, Written
from server.domain.channels import ChannelName
from server.domain.drafts import Sender
from server.domain.errors import Unavailable

_WHOLE = None
"""In place of a channel: all channels of the sender."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A draft that waits to be written, and the callback that is given its outcome."""

    draft: Entry
    sender: Sender | None
    done: Callable[[Any], None]
    deadline: float  # on time.monotonic(); if the thread has not begun to write it by then, it is never written
    refused: bool = False  # a retryable error is its outcome, so the sender's drafts behind it must be refused, too
    begun: bool = False  # the thread writes it, so only the thread knows its outcome
    outcome: Written | Exception | None = None  # as soon as it is known on the event loop
    told: bool = False  # the caller has the outcome
    before: Self | None = None  # the sender's draft before this one, until that is told
    behind: Self | None = None  # the sender's next draft


class Order:
    """Keeps promise 12 of the port, between the event loop and the writer's thread.

    A refusal closes its sender (or a channel for its sender) at once: the thread begins none of the drafts that wait.
    When the refusal is told, all drafts behind it are refused, and the channel is open again. A sender that has failed
    stays failed: `Intake.submit` takes nothing from it.

    `claims` is held by callers of `close` and `closed`, and while `refused` or `begun` of a draft change.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.claims = threading.Lock()
        self._loop = loop
        self._newest: dict[Sender, Waiting] = {}  # of each sender that waits for an outcome; of the event loop alone
        self._closed: set[tuple[Sender, ChannelName | None]] = set()

    def line_up(self, waiting: Waiting) -> None:
        """Put a draft behind those of its sender that are not told yet. Called on the loop."""
        sender = waiting.sender
        if sender is not None:
            if before := self._newest.get(sender):
                waiting.before, before.behind = before, waiting
            self._newest[sender] = waiting

    def close(self, waiting: Waiting, channel: ChannelName | None = _WHOLE) -> None:
        """Mark a draft as refused, and let none of its sender be begun behind it: none at all (the sender has failed),
        or none for the channel."""
        waiting.refused = True
        if waiting.sender is not None:
            waiting.sender.failed = waiting.sender.failed or channel is _WHOLE
            self._closed.add((waiting.sender, channel))

    def closed(self, waiting: Waiting) -> bool:
        """Whether a draft that waits is behind a refused one."""
        if not self._closed or waiting.sender is None:
            return False
        return (waiting.sender, _WHOLE) in self._closed or (waiting.sender, waiting.draft.channel) in self._closed

    def tell(self, waiting: Waiting, outcome: Written | Exception) -> None:
        """Give a draft's caller the outcome, once the sender's drafts before it have theirs. Called on the loop."""
        waiting.outcome = outcome
        ready: Waiting | None = waiting
        while ready is not None and ready.before is None and ready.outcome is not None:
            if ready.sender is not None:
                self._leave(ready, ready.sender)
            ready.told = True
            try:
                ready.done(ready.outcome)
            except Exception as error:  # noqa: BLE001  # a fault of one caller must not cost others their outcomes
                self._loop.call_exception_handler({"message": "an outcome was not taken", "exception": error})
            ready = ready.behind

    def _leave(self, waiting: Waiting, sender: Sender) -> None:
        """Let the sender's next draft be told."""
        if waiting.behind is not None:
            waiting.behind.before = None
        else:
            del self._newest[sender]
        if waiting.refused:
            with self.claims:
                self._refuse_behind(waiting, sender)

    def _refuse_behind(self, waiting: Waiting, sender: Sender) -> None:
        """Refuse the drafts that wait behind a refused one. If there is none, open what was closed."""
        channel = _WHOLE if sender.failed else waiting.draft.channel
        refused = False
        behind = waiting.behind
        while behind is not None:
            if channel in (_WHOLE, behind.draft.channel):
                if not behind.begun and not behind.refused:
                    behind.refused = True
                    behind.outcome = out_of_order()
                refused = refused or behind.refused
            behind = behind.behind
        if not refused:
            self._closed.discard((sender, channel))
        if waiting.behind is None:
            self._closed = {entry for entry in self._closed if entry[0] is not sender}


def out_of_order() -> Unavailable:
    """Return the refusal of a draft behind a refused one of the same sender."""
    return Unavailable("an earlier command was not written, and this one must not overtake it")
