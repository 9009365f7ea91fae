"""Drafts on their way to the writing thread, and answers on their way back: the part on the event loop."""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from server.adapters.sqlite.database import DEADLINE_S
from server.domain.appending import Appended
from server.domain.drafts import Draft
from server.domain.errors import Overloaded, Unavailable

WAITING_LIMIT = 10_000
"""Drafts that wait for the writer: about a second of its work. Over it, `Overloaded`."""


class WriterFailed(Exception):
    """Nothing can be written any more, by a fault of the program: the process must end, to be started again."""


@dataclass(slots=True)
class Waiting:
    """A draft, and the future that its caller waits for."""

    draft: Draft
    answer: asyncio.Future[Appended]
    deadline: float  # on time.monotonic(); if the thread has not begun to write it by then, it is never written
    begun: bool = False  # the thread writes it, so only the thread knows its outcome
    refused: bool = False  # the caller has been told that it is not written


class Intake:
    """Hands drafts over by the queue `handed`: all drafts of a loop iteration at once, because each hand-over wakes
    the thread and makes it compete with the loop for the interpreter's lock.

    `None` in `handed` means that no more will come. Only the thread writes `taken`. `ended` says why nothing is written
    any more, and is empty while the writer works.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self.taken = 0  # drafts since the start that the thread has taken
        self.ended = ""
        self._loop = loop
        self._gathered: list[Waiting] = []  # of this loop iteration, not handed over yet
        self._accepted = 0  # drafts since the start
        self._unanswered: deque[Waiting] = deque()  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None  # for the first deadline
        self._failed = asyncio.Event()  # the thread has ended by a fault
        self._claims = threading.Lock()  # between `begin` and the refusals: a refused draft is never written

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        """See the port's `append`. The draft takes its place in the order at once. If the thread has not begun to write
        it after `DEADLINE_S`, its future fails with `Unavailable`. If it has, the future stays open until the outcome
        is known, however long the commit takes: the event must be hinted at if it is written."""
        if self.ended:
            return self._refused(Unavailable(self.ended))
        if self._accepted - self.taken >= WAITING_LIMIT:
            return self._refused(Overloaded("too many messages wait to be written"))
        waiting = Waiting(draft, self._loop.create_future(), time.monotonic() + DEADLINE_S)
        if not self._gathered:
            self._loop.call_soon(self.hand_over)
        self._gathered.append(waiting)
        self._accepted += 1
        self._unanswered.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(DEADLINE_S, self._look)
        return waiting.answer

    def _refused(self, refusal: Unavailable | Overloaded) -> asyncio.Future[Appended]:
        refused: asyncio.Future[Appended] = self._loop.create_future()
        refused.set_exception(refusal)
        return refused

    def hand_over(self) -> None:
        """Give the thread the drafts that have been gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.handed.put(gathered)

    def begin(self, batch: Sequence[Waiting]) -> list[Waiting]:
        """Return the drafts that may be written; the others are too late and are refused. Called by the thread."""
        now = time.monotonic()
        with self._claims:
            for waiting in batch:
                waiting.begun = not waiting.refused and waiting.deadline >= now
        self.answer([(waiting, _late()) for waiting in batch if not waiting.begun])
        return [waiting for waiting in batch if waiting.begun]

    def answer(self, answers: Sequence[tuple[Waiting, Appended | Exception]]) -> None:
        """Answer the callers. Called by the thread."""
        if answers:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve, answers)

    def fail(self) -> None:
        """End `watch`. Called by the thread before it ends by a fault."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._failed.set)

    async def watch(self) -> None:
        """Wait until the thread has ended by a fault, then raise `WriterFailed`."""
        await self._failed.wait()
        raise WriterFailed(self.ended)

    def _resolve(self, answers: Sequence[tuple[Waiting, Appended | Exception]]) -> None:
        for waiting, outcome in answers:
            answer = waiting.answer
            if answer.done():  # the caller has given up
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        self._tidy()

    def _tidy(self) -> None:
        while self._unanswered and self._unanswered[0].answer.done():
            self._unanswered.popleft()

    def _look(self) -> None:
        """Fail the drafts that have waited for too long. Look again at the next deadline."""
        self._tidy()
        now = time.monotonic()
        with self._claims:
            while self._unanswered and self._unanswered[0].deadline <= now:
                waiting = self._unanswered.popleft()
                waiting.refused = not waiting.begun
                if waiting.refused and not waiting.answer.done():
                    waiting.answer.set_exception(_late())
        self._tidy()
        self._timer = None
        if self._unanswered:
            # The loop's clock may lag behind time.monotonic(): look a moment later.
            wait = self._unanswered[0].deadline - now + 0.001
            self._timer = self._loop.call_later(wait, self._look)


def _late() -> Unavailable:
    return Unavailable(f"the message log did not begin to write within {DEADLINE_S:.0f} s")
