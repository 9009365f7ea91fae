"""What Locust is told."""

from typing import Any

import pytest

from loadtest.judge import Ack, Verdict
from loadtest.reporter import (
    CONNECT,
    EVENT,
    FROM_AFAR,
    MISSED,
    PROMISES,
    SEND,
    SEND_AGAIN,
    Reporter,
)
from loadtest.traffic import Closed, Outgoing, Refused
from loadtest.wire import Json


class Desk:
    """Gathers what a reporter fires; the clock stands where a test puts it."""

    def __init__(self) -> None:
        self.fired: list[tuple[tuple[str, str], float | None, str | None]] = []
        self.heads: dict[str, dict[str, int]] = {}
        self.now = 10.0
        self.times_ready = 0
        self.reporter = Reporter(self._fire, "mine", lambda: self.now, self.heads, self._ready)

    def _ready(self) -> None:
        self.times_ready += 1

    def _fire(self, **event: Any) -> None:
        assert event.keys() == {
            "request_type", "name", "response_time", "response_length", "exception", "context",
        }  # fmt: skip
        problem = None if event["exception"] is None else str(event["exception"])
        self.fired.append(((event["request_type"], event["name"]), event["response_time"], problem))


def message(key: str, sent_at: float) -> Outgoing:
    """One under way."""
    return Outgoing("room:a", key, "text", "mine", sent_at)


def event(key: str, clock: str = "mine", at: float = 9.5) -> Json:
    """A message's creation."""
    return {"offset": 1, "message": {"key": key, "text": "text", "data": {"clock": clock, "at": at}}}


def test_a_send_takes_until_its_ack() -> None:
    """Over a lost connection it is another thing, and counted by itself."""
    desk = Desk()
    desk.reporter.ready()
    desk.now = 10.25
    desk.reporter.acked(message("k", 10.0), Ack("room:a", "one", 4, "k"), duplicate=False)
    desk.reporter.acked(message("k", 9.0), Ack("room:a", "one", 3, "k"), duplicate=False)
    assert desk.fired == [(SEND, 250.0, None), (SEND_AGAIN, 1_250.0, None)]
    assert desk.heads == {"room:a": {"one": 4}}
    assert desk.times_ready == 1


def test_an_event_takes_from_its_send_to_another_user() -> None:
    """Where the clock is the same, and live; one's own is not counted, whatever brings it."""
    desk = Desk()
    desk.reporter.said(message("own", 9.0))
    for key, clock, live in (("own", "mine", True), ("a", "mine", True), ("b", "theirs", True), ("c", "mine", False)):
        desk.reporter.heard(event(key, clock), live=live)
    desk.reporter.heard({"offset": 2, "message": {"id": "x", "deleted": True}}, live=True)
    assert desk.fired == [(EVENT, 500.0, None), (FROM_AFAR, None, None), (MISSED, None, None), (FROM_AFAR, None, None)]


@pytest.mark.parametrize("verdict", [Verdict.GAP, Verdict.REPEATED, Verdict.LATE])
def test_a_broken_promise_is_a_failure(verdict: Verdict) -> None:
    """With one text for each kind, so that Locust's table stays small."""
    desk = Desk()
    desk.reporter.fault(verdict, "room:a: offset 3 after 1")
    assert desk.fired == [(("PROMISE", verdict.value), None, PROMISES[verdict])]


def test_a_refused_message_is_a_failure() -> None:
    """By its code."""
    desk = Desk()
    desk.reporter.refused(message("k", 10.0), Refused("unavailable", "m", retryable=True))
    desk.reporter.refused("room:a", Refused("unavailable", "m", retryable=True))
    assert desk.fired == [(SEND, None, "refused: unavailable")]


def test_connections() -> None:
    """A close that clients get over is counted, and no failure."""
    desk = Desk()
    desk.reporter.entered(CONNECT, 0.5)
    desk.reporter.ended(Closed(1012), failed=False)
    desk.reporter.ended(Refused("unauthenticated", "m", retryable=False), failed=True)
    desk.reporter.ended(TimeoutError(), failed=False)
    assert desk.fired == [
        (CONNECT, 500.0, None),
        (("CLOSE", "closed with 1012"), None, None),
        (("CLOSE", "unauthenticated: m"), None, "unauthenticated: m"),
        (("CLOSE", "TimeoutError"), None, None),
    ]
