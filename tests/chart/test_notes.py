"""What `helm install` says afterwards: where it is, and what is unwise about it."""

import pytest

from tests.chart.conftest import PUBLIC_KEY
from tests.chart.rendered import AUTH, REDIS, Values, render

SAFE: Values = {**AUTH, **REDIS, "replicaCount": 2}

WARNINGS: list[tuple[Values, str]] = [
    ({**AUTH, "replicaCount": 2}, "WARNING: more than one replica without a shared store"),
    ({**AUTH, "persistence": {"enabled": False}}, "WARNING: the embedded log has no volume"),
    ({**SAFE, "ingress": {"enabled": True, "hosts": ["a.example"]}}, "WARNING: the Ingress has no TLS"),
    ({**SAFE, "service": {"type": "LoadBalancer"}}, "WARNING: the Service is exposed as LoadBalancer"),
    ({**SAFE, "auth": {"jwtSecret": "s" * 32}}, "WARNING: secrets were given as values"),
    (
        {**SAFE, "metrics": {"serviceMonitor": {"enabled": True}}},
        "WARNING: the NetworkPolicy lets only the kubelet reach port 9090",
    ),
    ({**SAFE, "networkPolicy": {"enabled": False}}, "WARNING: there is no NetworkPolicy"),
    ({**AUTH, "redis": {"url": "redis://a"}}, "WARNING: secrets were given as values"),
    ({**SAFE, "apiKeys": {"keys": ["k" * 32]}}, "WARNING: secrets were given as values"),
    (
        {**SAFE, "hook": {"url": "https://a.example", "secret": f"whsec_{'c2Vj' * 11}"}},
        "WARNING: secrets were given as values",
    ),
]


@pytest.mark.parametrize(("values", "warning"), WARNINGS, ids=lambda part: part[:40] if isinstance(part, str) else None)
def test_what_is_unwise_is_said(values: Values, warning: str) -> None:
    """Each by a warning of its own."""
    assert warning in render(values).notes


def test_what_is_wise_is_not_warned_of() -> None:
    """No warning where there is nothing to warn of."""
    values = {**SAFE, "ingress": {"enabled": True, "hosts": ["a.example"], "tls": [{"hosts": ["a.example"]}]}}
    assert "WARNING" not in render(values).notes
    assert "https://a.example/chat" in render(values).notes
    scraped = {"metrics": {"serviceMonitor": {"enabled": True}}}
    peers: list[Values] = [{"internalFrom": [{"podSelector": {}}]}, {"metricsNamespace": "monitoring"}]
    for who in peers:
        assert "WARNING" not in render(SAFE, scraped, {"networkPolicy": who}).notes


def test_backends_that_reach_nothing_are_thought_of() -> None:
    """Where they ask is told, and that the policy holds them off, until they are named; nothing without keys."""
    keys: Values = {"apiKeys": {"fileSecret": "backends"}}
    warning = "the NetworkPolicy lets no backend reach the HTTP API"
    peers: list[Values] = [{"podSelector": {}}]
    assert warning in render(SAFE, keys).notes
    assert "http://chat-maru-api.talk:80/api/v1/" in render(SAFE, keys).notes
    assert warning not in render(SAFE, keys, {"networkPolicy": {"backendsFrom": peers}}).notes
    assert warning not in render(SAFE, keys, {"networkPolicy": {"internalFrom": peers}}).notes
    assert warning in render(SAFE, keys, {"api": {"port": 8081}, "networkPolicy": {"internalFrom": peers}}).notes
    assert "/api/v1/" not in render(SAFE).notes


def test_a_redis_elsewhere_is_thought_of() -> None:
    """The policy's egress would hold it off: a note says so, until it is named or nothing is restricted."""
    note = "pods of this cluster at the ports 6379, 26379. If your store is\nelsewhere"
    assert note in render(SAFE).notes
    named = {"egress": {"to": [{"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}]}}
    for policy in (named, {"egress": {"enabled": False}}, {"enabled": False}):
        assert note not in render(SAFE, {"networkPolicy": policy}).notes
    assert note not in render(AUTH).notes


def test_receivers_on_other_ports_are_thought_of() -> None:
    """With webhooks, until something else is let out or nothing is restricted."""
    webhooks: Values = {"webhooks": {"existingSecret": "hooks"}}
    note = "the NetworkPolicy lets webhooks out to these ports alone: "
    assert f"{note}443." in render(SAFE, webhooks).notes
    ports = {"networkPolicy": {"egress": {"webhookPorts": [443, 8080]}}}
    assert f"{note}443, 8080." in render(SAFE, webhooks, ports).notes
    assert note not in render(SAFE).notes
    assert note not in render(SAFE, webhooks, {"networkPolicy": {"egress": {"enabled": False}}}).notes


@pytest.mark.parametrize("key", [{"jwtPublicKey": PUBLIC_KEY}, {"jwksUrl": "https://id.example/keys"}])
def test_a_seal_by_the_password_of_redis_is_told_of(key: Values) -> None:
    """Without a secret of tokens, until the cluster has a secret of its own."""
    note = "the replicas seal what they tell each other with Redis' password"
    assert note in render(REDIS, {"auth": key}).notes
    assert note not in render(REDIS, {"auth": key, "cluster": {"existingSecret": "cluster"}}).notes
    assert note not in render(SAFE).notes


def test_pages_of_any_origin_are_told_of() -> None:
    """Until the origins are named."""
    note = "pages of any origin may open connections"
    assert note in render(SAFE).notes
    assert note not in render(SAFE, {"config": {"allowedOrigins": ["https://chat.example.com"]}}).notes


def test_proxies_are_thought_of() -> None:
    """Until they are named."""
    note = "clients behind a proxy are not limited by their address"
    assert note in render(SAFE).notes
    assert note not in render(SAFE, {"config": {"trustedProxies": ["10.0.0.0/8"]}}).notes


@pytest.mark.parametrize("claim", ["issuer", "audience"])
def test_tokens_of_any_service_are_told_of(claim: str) -> None:
    """Until one of the two claims is asked for."""
    note = "every token that is signed with the key is taken"
    assert note in render(SAFE).notes
    assert note not in render(SAFE, {"auth": {claim: "chat"}}).notes


def test_the_commands_are_those_of_the_release() -> None:
    """With its names, to be copied."""
    notes = render(SAFE, {"service": {"port": 80}}).notes
    assert "kubectl -n talk rollout status deployment/chat-maru" in notes
    assert "helm -n talk test chat" in notes
    assert "port-forward service/chat-maru 8080:80" in notes
