"""Reports a session's events to Locust's statistics: waits as times, broken promises as failures.

Knows only the arguments of Locust's `request` event, so it is tested without Locust.
"""

from collections.abc import Callable, Mapping
from typing import Any

from loadtest.judge import Ack, Verdict
from loadtest.traffic import Listener, Outgoing, Question, Refused
from loadtest.wire import Json

Fire = Callable[..., None]
"""Locust's `environment.events.request.fire`."""

CONNECT = ("CONNECT", "handshake to all channels joined")
RESUME = ("RESUME", "handshake to back in all channels, with what was missed")
SEND = ("SEND", "message:send to ack")
SEND_AGAIN = ("SEND", "message:send to ack, over a lost connection")
EVENT = ("EVENT", "message:send to another user")
FROM_AFAR = ("EVENT", "of another process (no common clock)")
MISSED = ("EVENT", "brought by a resume")

PROMISES = {
    Verdict.GAP: "an event was lost",
    Verdict.REPEATED: "an event came twice",
    Verdict.LATE: "an event or ack was out of order",
}


class Broken(Exception):
    """A broken promise of the server. There are few different texts, so that Locust can count by them."""


class Reporter(Listener):
    """Reports for one user. `clock` names the process: times in messages of this name are comparable with `now`.

    `heads` gathers the last acked offset by channel and epoch, of all users of the process.
    """

    def __init__(
        self,
        fire: Fire,
        clock: str,
        now: Callable[[], float],
        heads: dict[str, dict[str, int]],
        inform: Callable[[], None],
    ) -> None:
        self._fire, self._clock, self._now, self._heads, self._inform = fire, clock, now, heads, inform
        self._mine: set[str] = set()
        self._ready_at = 0.0

    def said(self, message: Outgoing) -> None:
        """Note a message of the user's own: its arrival at the user is no delivery to a reader."""
        self._mine.add(message.key)

    def entered(self, what: tuple[str, str], seconds: float) -> None:
        """Report a connection that is ready: `CONNECT` or `RESUME`."""
        self.report(what, seconds)

    def ended(self, problem: Exception, *, failed: bool) -> None:
        """Report a connection that has ended or was refused: no failure if clients are meant to get over it."""
        self.report(("CLOSE", str(problem) or type(problem).__name__), failure=problem if failed else None)

    def ready(self) -> None:
        self._ready_at = self._now()
        self._inform()

    def heard(self, event: Json, *, live: bool) -> None:
        message: Mapping[str, Any] = event.get("message") or {}
        data = message.get("data") or {}
        if message.get("key") in self._mine:
            self._mine.discard(message["key"])
        elif not live:
            self.report(MISSED)
        elif data.get("clock") == self._clock:
            self.report(EVENT, self._now() - data["at"], len(message["text"]))
        else:
            self.report(FROM_AFAR)

    def acked(self, message: Outgoing, ack: Ack, *, duplicate: bool) -> None:
        what = SEND if message.sent_at >= self._ready_at else SEND_AGAIN
        self.report(what, self._now() - message.sent_at, len(message.text))
        epochs = self._heads.setdefault(ack.channel, {})
        epochs[ack.epoch] = max(ack.offset, epochs.get(ack.epoch, 0))

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        if isinstance(what, Outgoing):  # a join that is refused for now only takes longer
            self.report(SEND, failure=Broken(f"refused: {refusal.code}"))

    def fault(self, verdict: Verdict, where: str) -> None:
        self.report(("PROMISE", verdict.value), failure=Broken(PROMISES[verdict]))

    def answered(self, question: Question, seconds: float, answer: Json, *, sound: bool) -> None:
        """Report the answer to a question; a refusal, and an answer that can't be right, are failures."""
        failure = None if answer["ok"] else Broken(f"refused: {answer['error']['code']}")
        self.report(("ASK", question.name), seconds, failure=failure or (None if sound else Broken("a wrong answer")))

    def report(
        self, what: tuple[str, str], seconds: float | None = None, size: int = 0, failure: Exception | None = None
    ) -> None:
        """Fire an event. Without a time, Locust counts the event and leaves it out of the percentiles."""
        kind, name = what
        self._fire(
            request_type=kind,
            name=name,
            response_time=None if seconds is None else seconds * 1_000,
            response_length=size,
            exception=failure,
            context={},
        )
