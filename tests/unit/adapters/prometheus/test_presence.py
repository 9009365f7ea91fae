"""Counts of presence, as they are shown."""

from prometheus_client import CollectorRegistry, generate_latest

from server.adapters.prometheus.presence import PresenceCounters, PresenceNow
from tests.harness.scrape import read


def test_what_was_told_is_counted() -> None:
    """By kind; with the state of the moment."""
    counters, registry = PresenceCounters(), CollectorRegistry()
    registry.register(counters)
    counters.now = lambda: PresenceNow(7, 3, 2, 5, 6, 8, 9)
    for kind in ("joined", "joined", "left", "count"):
        counters.presence_told(kind)
    counters.presence_hole()
    samples = read(generate_latest(registry).decode())
    assert {name: value for name, value in samples.items() if not name.endswith("_created")} == {
        'maru_presence_events_total{event="joined"}': 2,
        'maru_presence_events_total{event="left"}': 1,
        'maru_presence_events_total{event="count"}': 1,
        "maru_presence_holes_total": 1,
        "maru_presence_entries_waiting": 7,
        "maru_presence_rosters": 3,
        "maru_presence_changes_dropped_total": 2,
        "maru_online_users_waiting": 5,
        "maru_presence_reaped_total": 6,
        "maru_webhook_notices_waiting": 8,
        "maru_webhook_notices_dropped_total": 9,
    }
