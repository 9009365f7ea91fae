"""Drafts on their way to the writing thread, and answers on their way back: the part on the event loop."""

import asyncio
import queue
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from server.adapters.sqlite.database import DEADLINE_S
from server.adapters.sqlite.entries import Entry, Written
from server.adapters.sqlite.jobs import Job
from server.adapters.sqlite.order import Order, Waiting, out_of_order
from server.domain.drafts import Sender
from server.domain.errors import Overloaded, Unavailable

T = TypeVar("T")

WAITING_LIMIT = 10_000
"""Drafts that wait for the writer: about a second of its work. Over it, `Overloaded`."""


CROWDED = WAITING_LIMIT // 4
"""Drafts that wait from which on a client should wait for an outcome before it submits more: so there is room for a
draft of each client, however many."""


HANDED_LIMIT = 1_000
"""Pieces of other work and groups of drafts that wait for the writer. Over it, other work is `Unavailable`."""


class WriterFailed(Exception):
    """Nothing can be written any more, by a fault of the program: the process must end, to be started again."""


class Intake:
    """Hands drafts over by the queue `handed`: all drafts of a loop iteration at once, because each hand-over wakes
    the thread and makes it compete with the loop for the interpreter's lock. Other work goes the same way, by itself.

    `None` in `handed` means that no more will come. Only the thread writes `taken`. `ended` says why nothing is written
    any more, and is empty while the writer works.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed: queue.SimpleQueue[list[Waiting] | Job[Any] | None] = queue.SimpleQueue()
        self.taken = 0  # drafts since the start that the thread has taken
        self.ended = ""
        self._loop = loop
        self._order = Order(loop)
        self._gathered: list[Waiting] = []  # of this loop iteration, not handed over yet
        self._deadline = 0.0  # of the drafts that are gathered
        self._accepted = 0  # drafts since the start
        self._unanswered: deque[Waiting] = deque()  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None  # for the first deadline
        self._failed = asyncio.Event()  # the thread has ended by a fault

    @property
    def crowded(self) -> bool:
        """See the port."""
        return self._accepted - self.taken >= CROWDED

    def append(self, draft: Entry) -> asyncio.Future[Any]:
        """See the port's `append`, and `submit`. The future's result is `Written`, of the draft's kind."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.submit(draft, None, partial(_resolve, answer))
        return answer

    def submit(self, draft: Entry, sender: Sender | None, done: Callable[[Any], None]) -> None:
        """See the port's `submit`. The draft takes its place in the order at once. If the thread has not begun to write
        it after `DEADLINE_S`, its outcome is `Unavailable`. If it has, the outcome is told when it is known, however
        long the commit takes: the event must be hinted at if it is written."""
        refusal = self._refusal(sender)
        if refusal is not None:
            if sender is not None:
                sender.failed = True
            refused = Waiting(draft, sender, done, 0.0, refused=True)
            self._order.line_up(refused)
            self._order.tell(refused, refusal)
            return
        if not self._gathered:
            self._deadline = monotonic() + DEADLINE_S
            self._loop.call_soon(self.hand_over)
        waiting = Waiting(draft, sender, done, self._deadline)
        self._order.line_up(waiting)
        self._gathered.append(waiting)
        self._accepted += 1
        self._unanswered.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(DEADLINE_S, self._look)

    def do(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Let the thread do some work in a transaction of its own. Its result is the future's, and so is a `MaruError`;
        after the storage's errors, the future has `Unavailable`. If it is cancelled in time, nothing is done."""
        job = Job(work, self._loop)
        if self.ended:
            job.answer.set_exception(Unavailable(self.ended))
        elif self.handed.qsize() >= HANDED_LIMIT:
            job.answer.set_exception(Unavailable("too much work waits for the message log's file; try again later"))
        else:
            self.hand_over()
            self.handed.put(job)
        return job.answer

    def _refusal(self, sender: Sender | None) -> Unavailable | Overloaded | None:
        if self.ended:
            return Unavailable(self.ended)
        if sender is not None and sender.failed:
            return out_of_order()
        if self._accepted - self.taken >= WAITING_LIMIT:
            return Overloaded("too many messages wait to be written")
        return None

    def hand_over(self) -> None:
        """Give the thread the drafts that have been gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.handed.put(gathered)

    def begin(self, batch: Sequence[Waiting]) -> list[Waiting]:
        """Return the drafts that may be written. The others are refused: they are too late, or behind a refused one.
        Called by the thread."""
        now = monotonic()
        refusals: list[tuple[Waiting, Exception]] = []
        begun: list[Waiting] = []
        with self._order.claims:
            for waiting in batch:
                if waiting.refused:
                    continue  # the event loop has told its caller
                if waiting.deadline < now:
                    refusals.append((waiting, _late()))
                    self._order.close(waiting)
                elif self._order.closed(waiting):
                    refusals.append((waiting, out_of_order()))
                    waiting.refused = True
                else:
                    waiting.begun = True
                    begun.append(waiting)
        self.answer(refusals)
        return begun

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Take back that these drafts have begun: nothing of them was written. Called by the thread."""
        with self._order.claims:
            for waiting in batch:
                waiting.begun = False

    def refuse(self, refusals: Sequence[tuple[Waiting, Unavailable]]) -> None:
        """Answer that these drafts are not written, so that their senders have failed. Called by the thread."""
        with self._order.claims:
            refusals = [(waiting, refusal) for waiting, refusal in refusals if not waiting.refused]
            for waiting, _ in refusals:
                self._order.close(waiting)
        self.answer(refusals)

    def close_channels(self, refused: Sequence[Waiting]) -> None:
        """Let nothing be written behind drafts whose channels can't be read. Called by the thread before it answers."""
        with self._order.claims:
            for waiting in refused:
                self._order.close(waiting, waiting.draft.channel)

    def answer(self, answers: Sequence[tuple[Waiting, Written | Exception]]) -> None:
        """Answer the callers. Called by the thread."""
        if answers:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                self._loop.call_soon_threadsafe(self._tell, answers)

    def fail(self) -> None:
        """End `watch`. Called by the thread before it ends by a fault."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._failed.set)

    async def watch(self) -> None:
        """Wait until the thread has ended by a fault, then raise `WriterFailed`."""
        await self._failed.wait()
        raise WriterFailed(self.ended)

    def _tell(self, answers: Sequence[tuple[Waiting, Written | Exception]]) -> None:
        for waiting, outcome in answers:
            self._order.tell(waiting, outcome)
        self._tidy()

    def _tidy(self) -> None:
        while self._unanswered and self._unanswered[0].told:
            self._unanswered.popleft()

    def _look(self) -> None:
        """Refuse the drafts that have waited for too long. Look again at the next deadline."""
        self._tidy()
        now = monotonic()
        late: list[Waiting] = []
        with self._order.claims:
            while self._unanswered and self._unanswered[0].deadline <= now:
                waiting = self._unanswered.popleft()
                if not (waiting.begun or waiting.refused):
                    self._order.close(waiting)
                    late.append(waiting)
        for waiting in late:
            self._order.tell(waiting, _late())
        self._tidy()
        self._timer = None
        if self._unanswered:
            # The loop's clock may lag behind time.monotonic(): look a moment later.
            wait = self._unanswered[0].deadline - now + 0.001
            self._timer = self._loop.call_later(wait, self._look)


def _resolve(answer: asyncio.Future[Any], outcome: Written | Exception) -> None:
    if answer.done():  # the caller has given up
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _late() -> Unavailable:
    return Unavailable(f"the message log did not begin to write within {DEADLINE_S:.0f} s")
