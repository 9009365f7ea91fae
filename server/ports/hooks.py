"""Asking a backend before a command takes effect."""

from typing import Protocol

from server.domain.hooks import AskOutcome, Hook, Question, Verdict

ASK_S = 1.0
"""Time for a question and its answer, within the 1.8 s of a command."""


class Hooks(Protocol):
    """Asks the backend.

    1. In time: a verdict is returned, or `NoVerdict` raised, within `ASK_S`.
    2. Once: a question is asked again only if the connection was refused, so that nobody had it.
    3. Checked: a verdict has the types and bounds of `domain/hooks.py`. The content of a `Replace` is not judged.
    4. A rejection stands, whatever is wrong with its reason.
    5. Cancelling gives up the answer; the backend may have the question.
    """

    async def ask(self, question: Question) -> Verdict:
        """Return the backend's verdict. Raises `NoVerdict`. Promises 1-5."""
        ...


class HookMetrics(Protocol):
    """How a backend is asked before commands. The promises of `Metrics` hold."""

    def asked(self, hook: Hook, outcome: AskOutcome, seconds: float | None) -> None:
        """A command was to be asked about. `seconds`: how long the question took; None: it was not asked."""
        ...

    def let_through(self, hook: Hook) -> None:
        """A command was let through without a verdict."""
        ...
