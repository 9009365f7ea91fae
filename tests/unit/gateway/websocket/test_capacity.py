"""How many connections may be open, and what the others are told."""

from structlog.testing import capture_logs

from server.domain.outcomes import Refusal
from server.gateway.websocket.capacity import ANSWERED, LINE_S, Capacity, Place
from tests.doubles.metrics import RecordingMetrics


def test_connections_that_are_elsewhere_count() -> None:
    """WebSockets and HTTP connections leave no less room than those that have sent nothing."""
    others = 2
    capacity = Capacity(3, lambda: others, RecordingMetrics(), lambda: 0.0)
    assert [capacity.enter(), capacity.enter()] == [Place.CLIENT, Place.ANSWERED]
    others = 1
    assert capacity.enter() is Place.CLIENT


def test_each_place_can_be_had_again() -> None:
    """Those of clients, and those of connections that are answered."""
    metrics = RecordingMetrics()
    capacity = Capacity(1, lambda: 0, metrics, lambda: 0.0)
    for _ in range(3):
        places = [capacity.enter() for _ in range(ANSWERED + 2)]
        assert places == [Place.CLIENT, *[Place.ANSWERED] * ANSWERED, Place.CLOSED]
        for place in places[:-1]:
            capacity.leave(place)
    assert metrics.of("refused") == [(Refusal.CONNECTIONS,)] * 3 * (ANSWERED + 1)


def test_a_line_in_a_while() -> None:
    """A flood of connections is no flood of lines; the next line says how many there were."""
    now = 0.0
    capacity = Capacity(0, lambda: 0, RecordingMetrics(), lambda: now)
    with capture_logs() as lines:
        for _ in range(1_000):
            capacity.enter()
        now = LINE_S
        capacity.enter()
    assert [line["event"] for line in lines] == ["connections.full"] * 2
    assert [line["refused"] for line in lines] == [1, 1_000]
