"""The server gets its numbers from the chart, takes every one, and none is out of the chart's reach."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.domain.gcra import Rate
from server.domain.hooks import Hook, HookFailure
from server.domain.rates import DEFAULTS, OFF, Bucket, replaced
from server.domain.rules import Rule
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.errors import BadSetting
from server.settings.load import load
from server.settings.model import PREFIX, Settings
from tests.chart.rendered import AUTH, REDIS, ROOT, Rendered, render

NOWHERE = Path("no.env")

NOT_IN_THE_CHART = {
    "MARU_DEV",
    "MARU_JWT_SECRET_FILE",
    "MARU_JWT_SECRET_PREVIOUS_FILE",
    "MARU_JWT_PUBLIC_KEY_FILE",
    "MARU_REDIS_URL_FILE",
    "MARU_POSTGRES_URL_FILE",
    "MARU_POSTGRES_LISTEN_URL_FILE",
    "MARU_NATS_URL_FILE",
    "MARU_KAFKA_PASSWORD_FILE",
    "MARU_KAFKA_CA",
    "MARU_KAFKA_CERTIFICATE",
    "MARU_KAFKA_CERTIFICATE_KEY",
    "MARU_CLUSTER_SECRET_FILE",
    "MARU_WEBHOOKS_FILE",
    "MARU_HOOK_SECRET_FILE",
    "MARU_HOOK_SECRET_PREVIOUS_FILE",
}
"""For a desk only; in Kubernetes, secrets come as variables. Kafka's PEM files are mounts of the user's own, by
`extraVolumes` and `extraEnv`."""

SECRETS = {
    "MARU_JWT_SECRET": "only-for-tests-0123456789abcdef0123456789",
    "MARU_JWT_SECRET_PREVIOUS": "only-for-tests-before-0123456789abcdef0123",
    "MARU_REDIS_URL": "redis://redis:6379/0",
    "MARU_POSTGRES_URL": "postgresql://maru:secret@pooler:6432/maru",
    "MARU_POSTGRES_LISTEN_URL": "postgresql://maru:secret@postgres/maru",
    "MARU_KAFKA_PASSWORD": "only-for-tests",
    "MARU_NATS_URL": "nats://maru:secret@nats:4222",
    "MARU_CLUSTER_SECRET": "only-for-tests-of-a-cluster-0123456789abcdef",
    "MARU_WEBHOOKS": '[{"name": "crm", "url": "http://crm:8000/maru", "secret": "whsec_%s"}]' % ("A" * 32),
    "MARU_HOOK_SECRET_PREVIOUS": f"whsec_{'YmVm' * 11}",
    "MARU_API_KEYS": "one-key-of-a-backend,another-key-of-one",
}


PREVIOUS = {"auth": {"previousSecret": "maru-secrets", "previousUntil": "2027-01-31T12:00:00Z"}}


POSTGRES_AND_KAFKA = {
    "postgres": {"existingSecret": "maru-secrets", "listenUrlKey": "postgres-listen-url"},
    "kafka": {
        "servers": "kafka-0:9092,kafka-1:9093",
        "security": "sasl_ssl",
        "user": "maru",
        "existingSecret": "maru-secrets",
        "egressTopic": "events",
        "ingestTopic": "messages",
    },
    "broadcast": "kafka",
}

NATS = {"nats": {"existingSecret": "maru-secrets"}}

REDIS_AND_NATS = {"redis": {"existingSecret": "maru-secrets"}, "broadcast": "nats", **NATS}


ISSUER = {"auth": {"jwksUrl": "http://id.example:8080/keys", "jwksInsecure": True}}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no variable of the outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def environment(rendered: Rendered) -> dict[str, str]:
    """What the container's process would be given; secrets of the user's own are those above."""
    found: dict[str, str] = dict(rendered.one("ConfigMap", rendered.one("Deployment")["metadata"]["name"])["data"])
    made = {item["metadata"]["name"]: item["stringData"] for item in rendered.of("Secret")}
    for variable in rendered.container["env"] or []:
        name = variable["name"]
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        own = made.get(reference.get("name"), {}).get(reference.get("key"), SECRETS.get(name, ""))
        found[name] = variable.get("value", own)
    return found


def _loaded(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(rendered).items():
        monkeypatch.setenv(name, value)
    return load(NOWHERE)


def test_the_defaults_are_the_servers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart changes nothing that nobody asked for: but where things are, its numbers are the server's defaults."""
    by_chart = _loaded(render(AUTH, REDIS), monkeypatch).model_dump()
    for name in environment(render(AUTH, REDIS)).keys() - {"MARU_JWT_SECRET", "MARU_REDIS_URL"}:
        monkeypatch.delenv(name)
    by_server = load(NOWHERE).model_dump()
    differ = {name for name in by_server if by_server[name] != by_chart[name]}
    assert differ == {"sqlite_path", "internal_host"}


def test_the_image_opens_its_internal_port() -> None:
    """In a container, loopback is reached by nobody: the image says so, and the server guesses nothing."""
    assert "    MARU_INTERNAL_HOST=0.0.0.0 \\\n" in (ROOT / "Dockerfile").read_text()
    assert Settings.model_fields["internal_host"].default == "127.0.0.1"


def test_every_value_reaches_the_server(everything: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of a setting is the setting, in the server's own units."""
    sizes = {"maxOutbound": "256MiB", "maxRings": "32MiB", "maxLogBytes": "6GiB"}
    settings = _loaded(render(everything, {"config": {**sizes, "admissionRate": 0}}), monkeypatch)
    assert settings.drain_timeout == 40
    assert (settings.ping_interval, settings.ping_timeout) == (2.5, 10)
    assert settings.retention_events == 2_000_000
    assert settings.retention_age == 90 * 86_400
    assert settings.allowed_origins == ("https://chat.example.com", "https://app.example.com")
    assert {pattern: sorted(actions) for pattern, actions in settings.default_grants.items()} == {
        "room:*": ["join", "send"]
    }
    assert (settings.jwt_issuer, settings.jwt_audience) == ("https://login.example.com", "chat")
    assert (settings.jwt_leeway, settings.token_grace, settings.jwt_max_lifetime) == (2, 1, 43_200)
    assert settings.revocation_life == 7 * 24 * 3_600
    assert settings.jwt_public_key is not None
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:hunter2@redis:6379/0"
    assert (settings.redis_prefix, settings.redis_wait_replicas) == ("chat:", 1)
    assert [key.get_secret_value() for key in settings.api_keys] == ["k" * 32, "another-key-that-is-long"]
    assert settings.hook_url is not None
    assert settings.hook_url.get_secret_value() == "https://app.example.com:8443/maru"
    assert settings.hook_secret is not None
    assert settings.hook_secret_previous is not None
    assert (settings.admission_rate, settings.admission_burst) == (0, 10_000)
    assert (settings.max_outbound, settings.max_rings, settings.max_log_bytes) == (256 << 20, 32 << 20, 6 << 30)
    assert settings.log_level == "debug"
    assert settings.log_commands_per_second == 5


def test_no_setting_is_out_of_reach(everything: dict[str, Any]) -> None:
    """A setting that is added to the server is added to the chart."""
    given = (
        environment(render(everything, {"config": {"maxOutbound": "256MiB", "maxLogBytes": "6GiB"}})).keys()
        | environment(render(AUTH, PREVIOUS)).keys()
        | environment(render(ISSUER)).keys()
        | environment(render(AUTH, POSTGRES_AND_KAFKA)).keys()
        | environment(render(AUTH, NATS)).keys()
    )
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert known - given == NOT_IN_THE_CHART
    assert {name for name in given if name.startswith(PREFIX)} <= known


def test_a_previous_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from its Secret, beside the secret that has taken its place, with its end."""
    settings = _loaded(render(AUTH, PREVIOUS), monkeypatch)
    assert settings.jwt_secret_previous is not None
    assert settings.jwt_secret_previous_until == datetime(2027, 1, 31, 12, tzinfo=UTC)


def test_an_issuers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """By https, or by http if that is allowed."""
    settings = _loaded(render(ISSUER), monkeypatch)
    assert (settings.jwt_jwks_url, settings.jwt_jwks_insecure) == ("http://id.example:8080/keys", True)


def test_replicas_with_redis_share_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Redis both sides are Redis."""
    settings = _loaded(render(AUTH, REDIS), monkeypatch)
    assert (settings.message_log, settings.broadcast) == (MessageLogKind.REDIS, BroadcastKind.REDIS)


def test_a_cluster_of_ipv6_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ports can listen there."""
    settings = _loaded(render(AUTH, {"config": {"host": "::"}}), monkeypatch)
    assert (settings.host, settings.internal_host) == ("::", "::")


def test_an_empty_secret_is_no_other_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Secret's URL is empty the server refuses to start, and opens no log of its own instead."""
    for name, value in environment(render(AUTH, REDIS)).items():
        monkeypatch.setenv(name, "" if name == "MARU_REDIS_URL" else value)
    with pytest.raises(BadSetting, match="MARU_MESSAGE_LOG: redis needs MARU_REDIS_URL"):
        load(NOWHERE)


def test_large_numbers_are_digits() -> None:
    """A number of a million is not 1e+06."""
    data = render(AUTH, {"config": {"retentionEvents": 9_007_199_254_740_991, "maxOutbound": 1_073_741_824}})
    found = data.one("ConfigMap")["data"]
    assert (found["MARU_RETENTION_EVENTS"], found["MARU_MAX_OUTBOUND"]) == ("9007199254740991", "1073741824")


def test_limits_and_rules(everything: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of single buckets, of tiers, and rules arrive as they are."""
    settings = _loaded(render(everything), monkeypatch)
    assert settings.limits == replaced(DEFAULTS, {Bucket.SEND: Rate(20, 100), Bucket.ADDRESS: OFF})
    assert settings.limit_tiers == {"bot": {Bucket.SESSION: Rate(500, 1_000_000)}}
    assert settings.channel_rules == {
        "room:*": Rule(2.5, retention_events=2_000_000, retention_age_s=7 * 86_400.0, receipts=50),
        "room:42": Rule(hooks=frozenset({Hook.JOIN, Hook.SEND}), hook_failure=HookFailure.OPEN),
    }


@pytest.mark.parametrize("off", ["off", False])
def test_limits_are_off(off: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare `off` is `false` in YAML: both turn all limits off."""
    assert _loaded(render(AUTH, {"config": {"limits": off}}), monkeypatch).limits == {}


def test_grants_are_json() -> None:
    """As the server reads them."""
    found = render(AUTH, {"auth": {"defaultGrants": {"dm:*": ["join"]}}}).one("ConfigMap")["data"]
    assert json.loads(found["MARU_DEFAULT_GRANTS"]) == {"dm:*": ["join"]}


@pytest.mark.parametrize(
    ("values", "log", "broadcast", "ports"),
    [
        (POSTGRES_AND_KAFKA, "postgres", "kafka", [5432, 6432, 9092, 9093]),
        ({"postgres": {"existingSecret": "maru-secrets"}}, "postgres", "postgres", [5432, 6432]),
        (NATS, "nats", "nats", [4222]),
        (REDIS_AND_NATS, "redis", "nats", [6379, 26379, 4222]),
    ],
)
def test_engines(
    values: dict[str, Any], log: str, broadcast: str, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store and the broker that the values name, which the NetworkPolicy lets be reached."""
    rendered = render(AUTH, values)
    settings = _loaded(rendered, monkeypatch)
    assert (settings.message_log.value, settings.broadcast.value) == (log, broadcast)
    rules = rendered.one("NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rules[1]["ports"]] == ports
    assert rendered.one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert rendered.of("PersistentVolumeClaim") == []
