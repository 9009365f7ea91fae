"""Refused handshakes in the log: each kind is seen, a flood is not written, and in development all are."""

from collections.abc import Callable

from structlog.testing import capture_logs

from server.domain.outcomes import Refusal
from server.gateway.websocket import refusals
from server.gateway.websocket.refusal_log import PERIOD_S, SAMPLE, RefusalLog
from server.ports.metrics import SILENT

Later = list[tuple[float, Callable[[], None]]]


def log(later: Later, *, development: bool = False) -> RefusalLog:
    """A log whose clock is moved by hand."""
    return RefusalLog(SILENT, development=development, call_later=lambda s, call: later.append((s, call)))


def test_a_line_says_what_to_do() -> None:
    """Why, to whom, and the remedy."""
    with capture_logs() as lines:
        log([]).add(refusals.unknown_transport(), "198.51.100.1")
    (line,) = lines
    assert (line["event"], line["reason"], line["status"], line["remote"]) == (
        "handshake.refused",
        "transport",
        400,
        "198.51.100.1",
    )
    assert 'transports: ["websocket"]' in line["remedy"]


def test_a_flood_is_a_few_lines() -> None:
    """In a period so many of each reason, and at its end how many more there were."""
    later: Later = []
    subject = log(later)
    for _ in range(2):
        with capture_logs() as lines:
            for _ in range(1_000):
                subject.add(refusals.unknown_transport(), None)
            subject.add(refusals.foreign_origin(), None)
            assert [line["reason"] for line in lines] == ["transport"] * SAMPLE + ["origin"]
            ((wait_s, end),) = later
            later.clear()
            end()
        assert wait_s == PERIOD_S
        assert lines[SAMPLE + 1 :] == [
            {
                "event": "handshake.suppressed",
                "log_level": "info",
                "reason": str(Refusal.TRANSPORT),
                "suppressed": 1_000 - SAMPLE,
            }
        ]


def test_in_development_every_refusal_is_told() -> None:
    """Whoever writes a client sees each try."""
    later: Later = []
    subject = log(later, development=True)
    with capture_logs() as lines:
        for _ in range(100):
            subject.add(refusals.no_websocket(), None)
    assert (len(lines), later) == (100, [])
