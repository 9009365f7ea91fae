"""A backend in the process: it gives the verdicts that a test has prepared, and remembers the questions."""

import asyncio
from collections.abc import Callable

from server.domain.hooks import Accept, AskOutcome, NoVerdict, Question, Verdict
from server.ports.hooks import ASK_S, Hooks

HANG = "hang"
"""In place of a verdict: none comes."""


class FakeBackend(Hooks):
    """Answers each question by `answer`, after `takes_s` seconds. By default everything is accepted at once."""

    def __init__(self, answer: Callable[[Question], Verdict | NoVerdict | str] = lambda _: Accept()) -> None:
        self.answer = answer
        self.takes_s = 0.0
        self.asked: list[Question] = []
        self.most = self._under_way = 0
        self.on_ask: Callable[[], None] = lambda: None

    async def ask(self, question: Question) -> Verdict:
        self.asked.append(question)
        self.on_ask()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            verdict = self.answer(question)
            if verdict == HANG or self.takes_s > ASK_S:
                await asyncio.sleep(ASK_S)
                verdict = NoVerdict(AskOutcome.TIMED_OUT, "no answer")
            else:
                await asyncio.sleep(self.takes_s)
        finally:
            self._under_way -= 1
        if isinstance(verdict, Exception):
            raise verdict
        assert not isinstance(verdict, str)
        return verdict
