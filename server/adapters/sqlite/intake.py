"""Drafts on their way to the writing thread, and answers on their way back: the event loop's side of both."""

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
    """A draft whose caller waits."""

    draft: Draft
    answer: asyncio.Future[Appended]
    deadline: float  # on time.monotonic(); nobody waits for the answer after it


class Intake:
    """Hands over drafts by `handed`, all those of one turn of the loop at once: each hand-over wakes the thread, and
    makes it compete with the loop for the interpreter's lock.

    `None` in `handed` says that no more will come. `taken` is counted by the thread, and by nobody else.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self.taken = 0
        self._loop = loop
        self._gathered: list[Waiting] = []
        self._accepted = 0
        self._unanswered: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many drafts the thread has not taken yet."""
        return self._accepted - self.taken

    def accept(self, draft: Draft, seconds: float) -> asyncio.Future[Appended]:
        """Give the draft its place in the order. `Unavailable` after so many seconds, which are always the same."""
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
        """Let the thread have what has been gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.handed.put(gathered)

    def answer(self, answers: Sequence[tuple[Waiting, Appended | Exception]]) -> None:
        """Tell the callers what became of their drafts. For the thread."""
        if answers:
            with suppress(RuntimeError):  # the loop is closed, and with it everybody who waited
                self._loop.call_soon_threadsafe(self._resolve, answers)

    def _resolve(self, answers: Sequence[tuple[Waiting, Appended | Exception]]) -> None:
        for waiting, outcome in answers:
            answer = waiting.answer
            if answer.done():  # given up by its caller
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
        """Give up what has waited for too long; look again when the next one may have."""
        self._tidy()
        now = time.monotonic()
        while self._unanswered and self._unanswered[0].deadline <= now:
            answer = self._unanswered.popleft().answer
            if not answer.done():
                answer.set_exception(Unavailable(f"the message log did not answer within {seconds:.0f} s"))
        self._tidy()
        self._timer = None
        if self._unanswered:
            # The loop's clock may lag behind the other one by a turn: a moment later is soon enough.
            wait = self._unanswered[0].deadline - now + 0.001
            self._timer = self._loop.call_later(wait, self._look, seconds)
