"""Drafts on their way to the writing thread, and answers on their way back: the part on the event loop."""

import asyncio
import queue
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from server.domain.appending import Appended
from server.domain.drafts import Draft
from server.domain.errors import Unavailable


@dataclass(slots=True)
class Waiting:
    """A draft, and the future that its caller waits for."""

    draft: Draft
    answer: asyncio.Future[Appended]
    deadline: float  # on time.monotonic(); the caller is answered by then


class Intake:
    """Hands drafts over by the queue `handed`: all drafts of one loop iteration at once, because each hand-over wakes
    the thread and makes it compete with the loop for the interpreter's lock.

    `None` in `handed` means that no more will come. Only the thread writes `taken`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self.taken = 0  # drafts since the start that the thread has taken
        self._loop = loop
        self._gathered: list[Waiting] = []  # of this loop iteration, not handed over yet
        self._accepted = 0  # drafts since the start
        self._unanswered: deque[Waiting] = deque()  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None  # for the first deadline

    @property
    def waiting(self) -> int:
        """The number of drafts that the thread has not taken yet."""
        return self._accepted - self.taken

    def accept(self, draft: Draft, seconds: float) -> asyncio.Future[Appended]:
        """Give the draft its place in the order. Its future fails with `Unavailable` after `seconds`, which must be the
        same for every draft."""
        waiting = Waiting(draft, self._loop.create_future(), time.monotonic() + seconds)
        if not self._gathered:
            self._loop.call_soon(self.hand_over)
        self._gathered.append(waiting)
        self._accepted += 1
        self._unanswered.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._look, seconds)
        return waiting.answer

    def hand_over(self) -> None:
        """Give the thread the drafts that have been gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.handed.put(gathered)

    def answer(self, answers: Sequence[tuple[Waiting, Appended | Exception]]) -> None:
        """Answer the callers. Called by the thread."""
        if answers:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve, answers)

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

    def _look(self, seconds: float) -> None:
        """Fail the drafts that have waited for too long. Look again at the next deadline."""
        self._tidy()
        now = time.monotonic()
        while self._unanswered and self._unanswered[0].deadline <= now:
            answer = self._unanswered.popleft().answer
            if not answer.done():
                answer.set_exception(Unavailable(f"the message log did not answer within {seconds:.0f} s"))
        self._tidy()
        self._timer = None
        if self._unanswered:
            # The loop's clock may lag behind time.monotonic(): look a moment later.
            wait = self._unanswered[0].deadline - now + 0.001
            self._timer = self._loop.call_later(wait, self._look, seconds)
