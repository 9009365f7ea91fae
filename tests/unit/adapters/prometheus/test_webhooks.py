"""Counting of webhooks."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from server.adapters.prometheus.webhooks import WebhookCounters
from server.domain.webhooks import Outcome


def shown(counters: WebhookCounters) -> list[str]:
    """Return the samples that are not zero."""
    registry = CollectorRegistry()
    registry.register(counters)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if line[0] != "#" and not line.endswith(" 0.0")]


def test_each_call_moves_its_series() -> None:
    """By endpoint; nothing moves what is of another."""
    counters = WebhookCounters(["crm", "ops"])
    assert shown(counters) == []
    counters.webhook_led("crm", True)
    counters.webhook_answered("crm", Outcome.BUSY, 0.5)
    counters.webhook_answered("crm", Outcome.BUSY, -1.0)
    counters.webhook_state("crm", down=True, off=True)
    counters.webhook_buried("crm")
    counters.webhook_gapped("crm")
    counters.webhook_fault("crm")
    counters.webhook_lagged("crm", 2, 7, 1.5)
    assert shown(counters) == [
        'maru_webhook_leads{endpoint="crm"} 1.0',
        'maru_webhook_down{endpoint="crm"} 1.0',
        'maru_webhook_off{endpoint="crm"} 1.0',
        'maru_webhook_owed_channels{endpoint="crm"} 2.0',
        'maru_webhook_lag_events{endpoint="crm"} 7.0',
        'maru_webhook_oldest_seconds{endpoint="crm"} 1.5',
        'maru_webhook_attempts_total{endpoint="crm",outcome="busy"} 2.0',
        'maru_webhook_attempt_seconds_total{endpoint="crm"} 0.5',
        'maru_webhook_dead_letters_total{endpoint="crm"} 1.0',
        'maru_webhook_gaps_total{endpoint="crm"} 1.0',
        'maru_webhook_faults_total{endpoint="crm"} 1.0',
    ]


def test_gauges_are_those_of_the_replica_that_leads() -> None:
    """Another replica shows zero, and a state that it had is forgotten."""
    counters = WebhookCounters(["crm"])
    counters.webhook_led("crm", True)
    counters.webhook_state("crm", down=True, off=False)
    counters.webhook_lagged("crm", 2, 7, 1.5)
    counters.webhook_led("crm", False)
    assert shown(counters) == []
