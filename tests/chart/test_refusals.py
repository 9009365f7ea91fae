"""Values that can't be right are refused, by the schema or by a message that says what to change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendered import AUTH, CHART, REDIS, Values, faults, refusal, render

SECRET = "hunter2hunter2"

SCHEMA: list[tuple[Values, str]] = [
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"image": {"name": "maru"}}, "at '/image': additional properties 'name' not allowed"),
    ({"config": {"drainTimeout": 20}}, "at '/config': additional properties 'drainTimeout' not allowed"),
    ({"replicaCount": "3"}, "at '/replicaCount': got string, want integer"),
    ({"replicaCount": -1}, "at '/replicaCount': minimum: got -1, want 0"),
    ({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy': value must be one of"),
    ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
    ({"image": {"tag": "1.0/2"}}, "at '/image/tag': '1.0/2' does not match pattern"),
    ({"auth": {"defaultGrants": {"room:*": ["shout"]}}}, "at '/auth/defaultGrants/room:*/0': value must be one of"),
    ({"config": {"pingInterval": "10 seconds"}}, "at '/config/pingInterval': '10 seconds' does not match pattern"),
    ({"config": {"pingInterval": "0s"}}, "at '/config/pingInterval': '0s' does not match pattern"),
    ({"config": {"pingTimeout": 0}}, "at '/config/pingTimeout': exclusiveMinimum: got 0, want 0"),
    ({"config": {"retentionAge": 0}}, "at '/config/retentionAge': exclusiveMinimum: got 0, want 0"),
    ({"config": {"retentionAge": "0.0d"}}, "at '/config/retentionAge': '0.0d' does not match pattern"),
    ({"config": {"host": "localhost"}}, "at '/config/host': value must be one of '0.0.0.0', '::'"),
    ({"config": {"maxChannels": 501}}, "at '/config/maxChannels': maximum: got 501, want 500"),
    ({"config": {"logLevel": "loud"}}, "at '/config/logLevel': value must be one of"),
    (
        {"config": {"allowedOrigins": ["https://a.example/"]}},
        "at '/config/allowedOrigins/0': 'https://a.example/' does",
    ),
    ({"config": {"allowedOrigins": []}}, "at '/config/allowedOrigins': minItems: got 0, want 1"),
    ({"config": {"admissionRate": -1}}, "at '/config/admissionRate': minimum: got -1, want 0"),
    ({"config": {"limits": {"sends": [1, 2]}}}, "at '/config/limits': additional properties 'sends' not allowed"),
    ({"config": {"limits": {"session": [1]}}}, "at '/config/limits/session': minItems: got 1, want 2"),
    ({"config": {"limits": "on"}}, "at '/config/limits': value must be one of 'off', false"),
    (
        {"config": {"limitTiers": {"bot": {"channel": [1, 2]}}}},
        "at '/config/limitTiers/bot': additional properties 'channel' not allowed",
    ),
    (
        {"config": {"channelRules": {"room:*": {"slow": 1}}}},
        "at '/config/channelRules/room:*': additional properties 'slow' not allowed",
    ),
    ({"drain": {"timeoutSeconds": "20s"}}, "at '/drain/timeoutSeconds': got string, want null or integer"),
    ({"drain": {"marginSeconds": 3}}, "at '/drain/marginSeconds': minimum: got 3, want 4"),
    ({"updateStrategy": {"type": "OnDelete"}}, "at '/updateStrategy/type': value must be one of"),
    ({"updateStrategy": {"maxSurge": "200%"}}, "at '/updateStrategy/maxSurge': '200%' does not match pattern"),
    ({"probes": {"liveness": {"periodSeconds": 0}}}, "at '/probes/liveness/periodSeconds': minimum: got 0, want 1"),
    ({"probes": {"liveness": {"path": "/"}}}, "at '/probes/liveness': additional properties 'path' not allowed"),
    ({"resources": {"limits": {"memory": "lots"}}}, "at '/resources/limits/memory': 'lots' does not match pattern"),
    ({"persistence": {"accessModes": ["ReadWriteMany"]}}, "at '/persistence/accessModes/0': value must be one of"),
    ({"service": {"type": "ExternalName"}}, "at '/service/type': value must be one of"),
    ({"service": {"port": 70_000}}, "at '/service/port': maximum: got 70,000, want 65,535"),
    (
        {"ingress": {"hosts": ["https://chat.example.com"]}},
        "at '/ingress/hosts/0': 'https://chat.example.com' does not",
    ),
    ({"ingress": {"paths": []}}, "at '/ingress/paths': minItems: got 0, want 1"),
    ({"ingress": {"annotations": {"a": 1}}}, "at '/ingress/annotations/a': got number, want string"),
    ({"httpRoute": {"parentRefs": [{"gateway": "a"}]}}, "at '/httpRoute/parentRefs/0': missing property 'name'"),
    (
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        "at '/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1",
    ),
    ({"podSecurityContext": {"runAsNonRoot": False}}, "at '/podSecurityContext/runAsNonRoot': value must be true"),
    ({"podSecurityContext": {"runAsUser": 0}}, "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"),
    (
        {"securityContext": {"privileged": True}},
        "at '/securityContext': additional properties 'privileged' not allowed",
    ),
    ({"securityContext": {"readOnlyRootFilesystem": False}}, "readOnlyRootFilesystem': value must be true"),
    ({"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation': value must be false"),
    ({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, "additional properties 'add' not allowed"),
    ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile/type': value must be one of"),
    ({"extraVolumes": [{"name": "data"}]}, "at '/extraVolumes/0/name': 'not' failed"),
    ({"config": {"channelRules": {"Room *": {}}}}, "invalid propertyName 'Room *'"),
    ({"auth": {"defaultGrants": {"room:*:x": []}}}, "invalid propertyName 'room:*:x'"),
    ({"extraEnv": [{"value": "a"}]}, "at '/extraEnv/0': missing property 'name'"),
    (
        {"metrics": {"serviceMonitor": {"interval": "soon"}}},
        "at '/metrics/serviceMonitor/interval': 'soon' does not match",
    ),
    # Helm takes a key away that is null: what a value must be is asked of nothing then, but that it is there.
    ({"securityContext": {"readOnlyRootFilesystem": None}}, "'/securityContext': missing property 'readOnlyRoot"),
    ({"securityContext": {"allowPrivilegeEscalation": None}}, "'/securityContext': missing property 'allowPriv"),
    ({"securityContext": {"runAsNonRoot": None}}, "at '/securityContext': missing property 'runAsNonRoot'"),
    ({"securityContext": {"capabilities": None}}, "at '/securityContext': missing property 'capabilities'"),
    ({"securityContext": {"capabilities": {"drop": None}}}, "'/securityContext/capabilities': missing property 'drop'"),
    ({"securityContext": {"seccompProfile": None}}, "at '/securityContext': missing property 'seccompProfile'"),
    ({"securityContext": None}, "missing property 'securityContext'"),
    ({"podSecurityContext": {"runAsNonRoot": None}}, "at '/podSecurityContext': missing property 'runAsNonRoot'"),
    ({"podSecurityContext": {"seccompProfile": None}}, "at '/podSecurityContext': missing property 'seccompProfile'"),
    ({"podSecurityContext": None}, "missing property 'podSecurityContext'"),
    ({"drain": {"marginSeconds": None}}, "at '/drain': missing property 'marginSeconds'"),
    ({"drain": None}, "missing property 'drain'"),
    ({"terminationGracePeriodSeconds": None}, "missing property 'terminationGracePeriodSeconds'"),
    ({"config": None}, "missing property 'config'"),
    ({"probes": {"startup": None}}, "at '/probes': missing property 'startup'"),
    ({"podDisruptionBudget": {"maxUnavailable": None}}, "at '/podDisruptionBudget': missing property 'maxUnavailable'"),
]

MAY_BE_NULL = {
    "api.port",
    *(
        "minReadySeconds",
        "config.maxOutbound",
        "config.maxLogBytes",
        "drain.preStopSleepSeconds",
        "drain.timeoutSeconds",
        "service.nodePort",
        "networkPolicy.egress.storePorts",
    ),
    *("podSecurityContext.runAsUser", "podSecurityContext.runAsGroup", "podSecurityContext.fsGroup"),
    *("securityContext.runAsUser", "securityContext.runAsGroup"),
    *("imagePullSecrets", "nodeSelector", "tolerations", "affinity"),
    *("extraEnv", "extraEnvFrom", "extraVolumes", "extraVolumeMounts", "extraObjects"),
}
"""Values with a meaning of null: the chart's own choice, the cluster's, or nothing."""

FREE_MAPS = ("resources.", "autoscaling.behavior.", "metrics.dashboard.labels.")
"""Below these are Kubernetes' own keys, each of which may be left out."""

TEMPLATES: list[tuple[Values, str]] = [
    (
        {**REDIS, "drain": {"timeoutSeconds": 21}},
        (
            "drain: preStopSleepSeconds (5) + timeoutSeconds (21) + marginSeconds (5) = 31 s is more than "
            "terminationGracePeriodSeconds (30): the replica would be killed while it moves its clients. "
            "Raise terminationGracePeriodSeconds to 31 or shorten the drain"
        ),
    ),
    ({**REDIS, "terminationGracePeriodSeconds": 29}, "= 30 s is more than terminationGracePeriodSeconds (29)"),
    ({**REDIS, "drain": {"preStopSleepSeconds": 6}}, "= 31 s is more than terminationGracePeriodSeconds (30)"),
    ({**REDIS, "drain": {"marginSeconds": 6}}, "= 31 s is more than terminationGracePeriodSeconds (30)"),
    ({"terminationGracePeriodSeconds": 6}, "preStopSleepSeconds (0) + timeoutSeconds (2) + marginSeconds (5) = 7 s is"),
    ({"auth": {"existingSecret": ""}}, "auth: no key to verify tokens with. Set auth.existingSecret"),
    ({"auth": {"jwtSecret": "x" * 32}}, "auth: auth.existingSecret and auth.jwtSecret are set, expected one of them"),
    ({"auth": {"existingSecret": "", "jwtSecret": SECRET}}, "auth.jwtSecret: 14 bytes, expected at least 32; make one"),
    (
        {"auth": {"existingSecret": "", "jwtPublicKey": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}},
        "auth.jwtPublicKey: holds a private key; the server takes the public key alone",
    ),
    ({"auth": {"existingSecret": "", "jwtPublicKey": SECRET}}, "auth.jwtPublicKey: holds no public key in PEM"),
    ({"redis": {"url": f"http://:{SECRET}@redis"}}, "redis.url: expected redis://[user:password@]host:port/db"),
    (
        {"redis": {"url": "redis://a", "existingSecret": "b"}},
        "redis.url and redis.existingSecret are set, expected one",
    ),
    ({"apiKeys": {"keys": [f"{SECRET}, another"]}}, "apiKeys.keys[0]: expected 16 to 256 printable ASCII characters"),
    ({"extraEnv": [{"name": "MARU_DEV", "value": "1"}]}, "extraEnv: MARU_DEV gives everybody tokens for every user"),
    ({"extraEnv": [{"name": "maru_dev", "value": "insecure-public"}]}, "extraEnv: MARU_DEV gives everybody"),
    (
        {"extraEnv": [{"name": "MARU_CLUSTER_SECRET", "value": "x"}]},
        "extraEnv: MARU_CLUSTER_SECRET is set by the chart",
    ),
    (
        {"extraEnv": [{"name": "MARU_HOOK_SECRET_PREVIOUS", "value": "x"}]},
        "extraEnv: MARU_HOOK_SECRET_PREVIOUS is set by the chart",
    ),
    ({"cluster": {"existingSecret": f"{SECRET}_"}}, "cluster.existingSecret: expected the name of a Secret"),
    (
        {"config": {"channelRules": {"room:*": {"retention_age": "10ms"}}}},
        "config.channelRules: room:*: retention_age: 10ms, expected a duration from 1s to 36500d",
    ),
    ({"hook": {"url": "https://a"}}, "hook.url: set without a secret, by which the backend knows who asks"),
    ({"hook": {"existingSecret": "a"}}, "hook: a secret is set, and hook.url is not"),
    ({"hook": {"url": "https://a b", "existingSecret": "a"}}, "hook.url: expected a URL such as https://app"),
    ({"hook": {"url": "https://a/b c", "existingSecret": "a"}}, "hook.url: expected a URL such as https://app"),
    ({"hook": {"url": "https://:443/", "existingSecret": "a"}}, "hook.url: expected a URL such as https://app"),
    ({"hook": {"url": "https://a:123456/", "existingSecret": "a"}}, "hook.url: expected a URL such as https://app"),
    ({"hook": {"url": f"https://{SECRET}@a", "existingSecret": "a"}}, "hook.url: expected a URL such as https://app"),
    ({"hook": {"url": "https://a", "secret": SECRET}}, "hook.secret: expected whsec_ and 24 to 64 bytes in base64"),
    (
        {"hook": {"url": "https://a", "secret": SECRET, "existingSecret": "a"}},
        "hook: hook.secret and hook.existingSecret are set, expected one of them",
    ),
    (
        {"config": {"channelRules": {"room:*": {"hooks": ["send"]}}}},
        "config.channelRules: room:* names hooks, and hook.url is not set",
    ),
    ({"apiKeys": {"keys": ["k" * 16], "existingSecret": "b"}}, "apiKeys.keys and apiKeys.existingSecret are set"),
    ({"updateStrategy": {"type": "RollingUpdate"}}, "RollingUpdate never finishes with the SQLite log in a volume"),
    (
        {**REDIS, "updateStrategy": {"maxSurge": "0%"}},
        "maxSurge and maxUnavailable are both 0, so no replica could ever",
    ),
    (
        {**REDIS, "autoscaling": {"enabled": True, "minReplicas": 11}},
        "autoscaling: minReplicas (11) is more than maxReplicas (10)",
    ),
    (
        {**REDIS, "autoscaling": {"enabled": True, "targetCPU": 0}},
        "autoscaling: nothing to scale by. Set autoscaling.targetCPU",
    ),
    (
        {**REDIS, "postgres": {"existingSecret": "maru-secrets"}},
        "postgres.existingSecret: set beside Redis, expected one of them",
    ),
    (
        {**REDIS, "nats": {"existingSecret": "maru-secrets"}},
        "nats.existingSecret: set beside redis, and nothing would use it. Set broadcast to nats",
    ),
    ({**REDIS, "broadcast": "nats"}, "broadcast: nats, and nats.existingSecret is not set"),
    ({**REDIS, "broadcast": "kafka"}, "broadcast: kafka, and kafka.servers is not set"),
    ({**REDIS, "kafka": {"egressTopic": "events"}}, "kafka: a topic is set, and kafka.servers is not"),
    (
        {**REDIS, "kafka": {"servers": "kafka:9092", "user": "maru"}},
        "kafka: kafka.user is set, and kafka.existingSecret, which holds the password, is not",
    ),
    (
        {"broadcast": "kafka", "kafka": {"servers": "kafka:9092"}},
        "broadcast: kafka, but each replica would keep a log of its own.",
    ),
    (
        {"broadcast": "kafka", "kafka": {"servers": "kafka:9092"}, "nats": {"existingSecret": "maru-secrets"}},
        "broadcast: kafka, and the log is in NATS, which carries its own hints. Unset broadcast",
    ),
    ({"autoscaling": {"enabled": True}}, "autoscaling: without a shared store each replica keeps a log of its own"),
    (
        {**REDIS, "autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
        "autoscaling.targetCPU is a share of resources.requests.cpu, which is not set",
    ),
    (
        {"networkPolicy": {"egress": {"storePorts": []}}, **REDIS},
        "networkPolicy.egress: storePorts and to are empty, so no replica could reach its store, nor ever be ready.",
    ),
    (
        {"progressDeadlineSeconds": 60, "minReadySeconds": 60},
        (
            "progressDeadlineSeconds (60) must be more than minReadySeconds (60), by the time that a start takes: else "
            "every update counts as failed. Raise progressDeadlineSeconds to 120"
        ),
    ),
    ({**REDIS, "progressDeadlineSeconds": 25}, "(25) must be more than minReadySeconds (25)"),
    (
        {"metrics": {"serviceMonitor": {"interval": "5s"}}},
        "metrics.serviceMonitor: scrapeTimeout (10s) is more than interval (5s), which Prometheus refuses. Set",
    ),
    ({"metrics": {"serviceMonitor": {"interval": "1m", "scrapeTimeout": "1m1ms"}}}, "(1m1ms) is more than interval"),
    ({"config": {"retentionAge": "500ms"}}, "config.retentionAge: 500ms, expected a duration from 1s to 36500d"),
    ({"config": {"retentionAge": "36501d"}}, "config.retentionAge: 36501d, expected a duration from 1s to 36500d"),
    ({"config": {"pingInterval": 10_000}}, "config.pingInterval: 10000, expected a duration from 1ms to 1h"),
    ({"config": {"pingTimeout": "0.1ms"}}, "config.pingTimeout: 0.1ms, expected a duration from 1ms to 1h"),
    (
        {"auth": {"existingSecret": "", "jwtPublicKey": "PUBLIC KEY-----", "previousSecret": "maru-secrets"}},
        "auth.previousSecret: set without the HS256 secret that comes after it",
    ),
    ({"auth": {"previousSecret": f"{SECRET}_"}}, "auth.previousSecret: expected the name of a Secret"),
    ({"auth": {"previousSecretKey": "a b"}}, "auth.previousSecretKey: expected a key of the Secret"),
    ({"auth": {"previousUntil": "2027-01-31T12:00:00Z"}}, "auth.previousUntil: set without auth.previousSecret"),
    (
        {"auth": {"previousSecret": "maru-secrets", "previousUntil": "2027-01-31"}},
        "auth.previousUntil: 2027-01-31, expected a date and time such as 2027-01-31T12:00:00Z",
    ),
    (
        {"auth": {"existingSecret": "", "jwksUrl": f"https://{SECRET}@id.example"}},
        "auth.jwksUrl: expected a URL such as https://id.example.com/jwks.json, without a user or a password",
    ),
    (
        {"auth": {"existingSecret": "", "jwksUrl": f"https://a b:{SECRET}@id.example"}},
        "auth.jwksUrl: expected a URL such as https://id.example.com/jwks.json, without a user or a password",
    ),
    ({"auth": {"existingSecret": "", "jwksUrl": "http://id.example"}}, "auth.jwksUrl: http, expected https"),
    (
        {"auth": {"jwksUrl": "https://id.example"}},
        "auth: auth.existingSecret and auth.jwksUrl are set, expected one of",
    ),
    ({"auth": {"maxLifetime": "36501d"}}, "auth.maxLifetime: 36501d, expected a duration up to 36500d"),
    ({"auth": {"revocationLife": "36501d"}}, "auth.revocationLife: 36501d, expected a duration from 1m to 36500d"),
    ({"auth": {"revocationLife": "59s"}}, "auth.revocationLife: 59s, expected a duration from 1m to 36500d"),
    ({"auth": {"leeway": "6m"}}, "auth.leeway: 6m, expected a duration from 0 to 5m"),
    (
        {"auth": {"existingSecret": f"{SECRET}_"}},
        "auth.existingSecret: expected the name of a Secret (a-z, 0-9, - and .), not what is in it",
    ),
    ({"redis": {"existingSecret": f"redis://:{SECRET}@redis"}}, "redis.existingSecret: expected the name of a Secret"),
    ({"apiKeys": {"existingSecret": f"{SECRET},b"}}, "apiKeys.existingSecret: expected the name of a Secret"),
    ({"apiKeys": {"fileSecret": f"{SECRET},b"}}, "apiKeys.fileSecret: expected the name of a Secret"),
    ({"apiKeys": {"fileSecretKey": SECRET + "/"}}, "apiKeys.fileSecretKey: expected a key of the Secret"),
    ({"redis": {"existingSecretKey": f"redis://:{SECRET}@redis"}}, "redis.existingSecretKey: expected a key of the"),
    (
        {
            "auth": {"existingSecret": "", "jwtSecret": SECRET * 3, "existingSecretKey": "all"},
            "redis": {"url": "redis://redis", "existingSecretKey": "all"},
        },
        (
            "auth.existingSecretKey and redis.existingSecretKey are both all, and both secrets are given as values: in "
            "the chart's Secret one would take the other's place. Give one another key"
        ),
    ),
    (
        {"redis": {"url": "redis://redis"}, "apiKeys": {"keys": [SECRET * 2], "existingSecretKey": "redis-url"}},
        "apiKeys.existingSecretKey and redis.existingSecretKey are both redis-url",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: empty, so no Gateway would serve the route"),
    ({"extraEnv": [{"name": "MARU_DRAIN_TIMEOUT", "value": "60"}]}, "extraEnv: MARU_DRAIN_TIMEOUT is set by the chart"),
    ({"extraEnv": [{"name": "MARU_REDIS_URL", "value": "x"}]}, "extraEnv: MARU_REDIS_URL is set by the chart"),
    (
        {"metrics": {"prometheusRule": {"enabled": True, "disabled": ["MaruQuiet"]}}},
        "metrics.prometheusRule.disabled: there is no alert MaruQuiet; expected some of MaruDown",
    ),
]


def _told(case: object) -> str | None:
    return json.dumps(case)[:60] if isinstance(case, dict) else None


@pytest.mark.parametrize(("values", "message"), SCHEMA, ids=_told)
def test_the_schema_refuses(values: Values, message: str) -> None:
    """A wrong key, type or shape is refused with its path."""
    assert message in refusal(AUTH, values)


@pytest.mark.parametrize(("values", "message"), TEMPLATES, ids=_told)
def test_the_templates_refuse(values: Values, message: str) -> None:
    """Values that do not fit each other are refused, with what to change."""
    said = refusal(AUTH, values)
    assert message in said
    assert SECRET not in said, "a refusal shows a secret"


@pytest.mark.parametrize("name", ["1chat", "my.chat"])
def test_a_release_that_no_service_can_be_named_after_needs_a_name(name: str) -> None:
    """Helm takes such a release; Kubernetes takes no such Service."""
    with pytest.raises(
        helm_python.HelmRenderError, match=rf"fullnameOverride: the objects would be called {name}-maru"
    ):
        render(AUTH, name=name)
    assert render(AUTH, {"fullnameOverride": "chat"}, name=name).one("Service", "chat")


@pytest.mark.parametrize("age", ["1s", 1, "1000ms", "0.5h", 2.5, "36500d", 1_000_000])
def test_durations_within_their_bounds_are_taken(age: object) -> None:
    """In each notation that the server reads."""
    assert render(AUTH, {"config": {"retentionAge": age}}).of("Deployment")


def test_secrets_of_ones_own_may_share_a_key() -> None:
    """Two Secrets, or one value of the chart beside one Secret: nothing takes another's place."""
    values = {"auth": {"existingSecretKey": "it"}, "redis": {"url": "redis://redis", "existingSecretKey": "it"}}
    assert render(AUTH, values).one("Secret")["stringData"] == {"it": "redis://redis"}


def test_egress_without_redis_needs_no_rule() -> None:
    """The embedded log is reached without a network."""
    policy = render(AUTH, {"networkPolicy": {"egress": {"storePorts": []}}}).one("NetworkPolicy")
    assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53]


def test_a_drain_that_just_fits_is_taken() -> None:
    """The sum may be as long as the grace period, and no longer."""
    taken = {"drain": {"preStopSleepSeconds": 10, "timeoutSeconds": 46}, "terminationGracePeriodSeconds": 61}
    assert render(AUTH, taken).pod["spec"]["terminationGracePeriodSeconds"] == 61


def test_a_null_takes_nothing_away() -> None:
    """Each value but those named above is refused where it is null, by its path and not by a template's trace."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    taken = set()
    for path in _paths(defaults):
        values: Values = {path[-1]: None}
        for key in reversed(path[:-1]):
            values = {key: values}
        if said := _schema_says(values):
            assert f"'{path[-1]}'" in said
            assert "missing propert" in said
        else:
            taken.add(".".join(path))
    assert {path for path in taken if not path.startswith(FREE_MAPS)} == MAY_BE_NULL


def _schema_says(values: Values) -> str:
    """Why the schema refuses these values; empty where it does not, and what is rendered is valid."""
    try:
        rendered = render(AUTH, REDIS, values)
    except helm_python.HelmValuesError as error:
        return str(error)
    assert [fault for found in rendered for fault in faults(found)] == []
    return ""


def _paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


def test_a_subchart_may_hand_down_globals() -> None:
    """`global`, which Helm adds for a chart that another one depends on, is no unknown key."""
    assert render(AUTH, {"global": {"team": "chat"}}).of("Deployment")


def test_lint_finds_nothing() -> None:
    """`helm lint --strict` is content: with the defaults, the least, and all kinds of logs."""
    for values in ({}, AUTH, {**AUTH, **REDIS}):
        report = helm_python.lint(CHART, dict(values), strict=True, kube_version="v1.30.0")
        # An icon would have to be fetched from somewhere; everything else counts.
        found = [message for message in report["messages"] if message["error"] != "icon is recommended"]
        assert (found, report["errors"]) == ([], [])


def test_lint_is_not_blind(tmp_path: Path) -> None:
    """The same call finds what is wrong with a chart."""
    report = helm_python.lint(CHART, {"replicas": 3}, strict=True)
    assert any("additional properties 'replicas' not allowed" in error for error in report["errors"])


def test_the_schema_is_closed_and_complete() -> None:
    """Each object of the schema refuses unknown keys, and it names what values.yaml has, no more and no less."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    schema["properties"].pop("global")
    assert list(_differences(schema, defaults, schema["definitions"], "")) == []


FREE = {"podSecurityContext", "securityContext", "resources", "timeouts", "behavior"}
"""Closed too, but with keys of Kubernetes that have no default here."""


def _differences(schema: dict[str, Any], defaults: Any, definitions: dict[str, Any], path: str) -> list[str]:
    if reference := schema.get("$ref"):
        schema = definitions[reference.rpartition("/")[2]]
    if "properties" not in schema or not isinstance(defaults, dict):
        return []
    found = [] if schema.get("additionalProperties") is False else [f"{path}: open"]
    if path.rpartition("/")[2] in FREE:
        return found
    named, given = set(schema["properties"]), set(defaults)
    found += [f"{path}/{key}: only in the schema" for key in named - given]
    found += [f"{path}/{key}: only in values.yaml" for key in given - named]
    for key in named & given:
        found += _differences(schema["properties"][key], defaults[key], definitions, f"{path}/{key}")
    return found
