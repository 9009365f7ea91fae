"""Whatever the values, what is rendered is valid Kubernetes, hangs together, and tells no secret."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.rendered import AUTH, REDIS, ROOT, Object, Rendered, Values, faults, render

SECRET = "a-secret-that-must-not-be-seen-0123456789"

AXES: dict[str, dict[str, Values]] = {
    "auth": {
        "own-secret": AUTH,
        "inline": {"auth": {"jwtSecret": SECRET}},
    },
    "log": {
        "sqlite": {},
        "sqlite-claim": {"persistence": {"existingClaim": "mine", "retain": False}},
        "sqlite-lost": {"persistence": {"enabled": False}},
        "redis": REDIS,
        "redis-inline": {"redis": {"url": f"rediss://:{SECRET}@redis:6379/0"}},
        "postgres": {"postgres": {"existingSecret": "maru-secrets"}},
        "nats": {"nats": {"existingSecret": "maru-secrets"}},
    },
    "size": {
        "one": {},
        "three": {"replicaCount": 3},
        "scaled": {"autoscaling": {"enabled": True, "targetConnections": 5000}},
    },
    "front": {
        "none": {},
        "ingress": {"ingress": {"enabled": True}},
        "route": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gate"}], "hostnames": ["chat.example.com"]}},
        "node-port": {"service": {"type": "NodePort", "nodePort": 30080, "port": 443}},
    },
    "around": {
        "little": {
            "podDisruptionBudget": {"enabled": False},
            "serviceAccount": {"create": False},
            "tests": {"enabled": False},
            "topologySpread": {"hosts": "", "zones": ""},
            "drain": {"preStopSleepSeconds": 0},
            "networkPolicy": {"enabled": False},
            "resources": {"requests": {"cpu": "1"}},
        },
        "much": {
            "networkPolicy": {"metricsNamespace": "monitoring"},
            "metrics": {
                "serviceMonitor": {"enabled": True},
                "prometheusRule": {"enabled": True},
                "dashboard": {"enabled": True},
            },
            "topologySpread": {"hosts": "DoNotSchedule", "zones": ""},
        },
    },
}
"""Every choice of an axis meets every choice of every other one that it may be with, in some case."""

Case = dict[str, str]


def _pairs(case: Case) -> set[tuple[tuple[str, str], ...]]:
    return set(itertools.combinations(case.items(), 2))


def _cases() -> Iterator[Case]:
    """Few cases in which each pair of choices is met: the next is always the one that meets most new pairs."""
    every = [dict(zip(AXES, choice, strict=True)) for choice in itertools.product(*AXES.values())]
    # An autoscaler without a shared store is refused.
    every = [case for case in every if case["size"] != "scaled" or not case["log"].startswith("sqlite")]
    unmet = set().union(*map(_pairs, every))
    while unmet:
        best = max(every, key=lambda case: len(_pairs(case) & unmet))
        unmet -= _pairs(best)
        yield best


CASES = list(_cases())

RELEASES = [("chat", "talk"), ("maru", "default"), ("a-release-with-a-name-as-long-as-helm-lets-it-be-53-ch", "x" * 63)]

LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def _chosen(case: Case) -> list[Values]:
    return [AXES[axis][choice] for axis, choice in case.items()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.values()))
def test_every_combination_is_valid(case: Case) -> None:
    """Strict schemas of the oldest and the newest Kubernetes take every object, and all references are met."""
    rendered = render(*_chosen(case))
    assert [fault for found in rendered for fault in faults(found)] == []
    assert _loose_ends(rendered) == []


@pytest.mark.parametrize(("name", "namespace"), RELEASES, ids=lambda text: text[:12])
def test_every_name_fits(name: str, namespace: str, everything: dict[str, Any]) -> None:
    """Names and labels are within Kubernetes' bounds, whatever the release's name."""
    values = everything | {"nameOverride": "", "fullnameOverride": ""}
    rendered = render(values, name=name, namespace=namespace)
    assert [fault for found in rendered for fault in faults(found)] == []
    for found in rendered:
        metadata = found["metadata"]
        limit = 63 if found["kind"] == "Service" else 253
        assert NAME.fullmatch(metadata["name"])
        assert len(metadata["name"]) <= limit
        for text in metadata.get("labels", {}).values():
            assert LABEL.fullmatch(text), text
            assert len(text) <= 63


def test_everything_at_once_is_valid(everything: dict[str, Any]) -> None:
    """Also with each list and map in use."""
    rendered = render(everything)
    assert [fault for found in rendered for fault in faults(found)] == []
    assert _loose_ends(rendered) == []
    assert {found["kind"] for found in rendered} == {
        "ConfigMap",
        "Deployment",
        "HTTPRoute",
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


def test_each_object_is_named_once(everything: dict[str, Any]) -> None:
    """No two objects of a kind share a name: the second would take the place of the first."""
    names = [(found["kind"], found["metadata"]["name"]) for found in render(everything)]
    assert len(names) == len(set(names))


def test_the_kind_test_is_valid() -> None:
    """What `deploy/kind-test.sh` installs: its values, and the Redis beside them."""
    values = yaml.safe_load((ROOT / "deploy" / "kind-test-values.yaml").read_text())
    redis = yaml.safe_load_all((ROOT / "deploy" / "kind-test-redis.yaml").read_text())
    rendered = render(values, name="maru")
    assert [fault for found in (*rendered, *redis) for fault in faults(found)] == []
    assert "WARNING: more than one replica" not in rendered.notes


@pytest.mark.parametrize("log", ["redis", "redis-inline"])
def test_secrets_stand_in_secrets_alone(log: str) -> None:
    """What was given as a secret is in no other object, and not in the notes."""
    rendered = render(AXES["auth"]["inline"], AXES["log"][log], {"apiKeys": {"keys": [SECRET]}})
    elsewhere = [found for found in rendered if found["kind"] != "Secret"]
    assert SECRET not in json.dumps(elsewhere) + rendered.notes
    assert SECRET in rendered.one("Secret")["stringData"]["jwt-secret"]


def _loose_ends(rendered: Rendered) -> list[str]:
    """References between the objects that lead nowhere."""
    return [*_selectors(rendered), *_pod_references(rendered), *_service_references(rendered)]


def _selectors(rendered: Rendered) -> Iterator[str]:
    labels = rendered.pod["metadata"]["labels"].items()
    wanted = [("Deployment", item["spec"]["selector"]["matchLabels"]) for item in rendered.of("Deployment")]
    wanted += [("Service", item["spec"]["selector"]) for item in rendered.of("Service")]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        key = "selector" if kind == "PodDisruptionBudget" else "podSelector"
        wanted += [(kind, item["spec"][key]["matchLabels"]) for item in rendered.of(kind)]
    for kind, selector in wanted:
        if not selector.items() <= labels:
            yield f"{kind} does not select the pods"
        for test in rendered.of("Pod"):
            if selector.items() <= test["metadata"]["labels"].items():
                yield f"{kind} selects the pod of `helm test`"


def _pod_references(rendered: Rendered) -> Iterator[str]:
    spec = rendered.pod["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in rendered.container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"no volume {mount['name']}"
    made = {(item["kind"], item["metadata"]["name"]) for item in rendered}
    claim = volumes["data"].get("persistentVolumeClaim", {}).get("claimName", "mine")
    if claim != "mine" and ("PersistentVolumeClaim", claim) not in made:
        yield f"no claim {claim}"
    for variable in rendered.container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference and reference["name"] != "maru-secrets":
            secret = rendered.one("Secret", reference["name"])
            if reference["key"] not in secret["stringData"]:
                yield f"no key {reference['key']} in the Secret"
    for source in rendered.container["envFrom"]:
        name = source.get("configMapRef", {}).get("name")
        if name and ("ConfigMap", name) not in made:
            yield f"no ConfigMap {name}"
    account = spec["serviceAccountName"]
    if account != "default" and ("ServiceAccount", account) not in made:
        yield f"no ServiceAccount {account}"


def _service_references(rendered: Rendered) -> Iterator[str]:
    ports = {port["name"] for port in rendered.container["ports"]}
    services = {item["metadata"]["name"]: item for item in rendered.of("Service")}
    for service in services.values():
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"no port {port['targetPort']}"
    for backend in _backends(rendered):
        if backend["name"] not in services:
            yield f"no Service {backend['name']}"
        elif backend["port"] not in _ports(services[backend["name"]]):
            yield f"the Service has no port {backend['port']}"
    for scaler in rendered.of("HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] != rendered.one("Deployment")["metadata"]["name"]:
            yield "the autoscaler's target is not the Deployment"


def _backends(rendered: Rendered) -> Iterator[Object]:
    for ingress in rendered.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield {"name": service["name"], "port": service["port"]["name"]}
    for route in rendered.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            yield from rule["backendRefs"]


def _ports(service: Object) -> set[object]:
    return {value for port in service["spec"]["ports"] for value in (port["name"], port["port"])}
