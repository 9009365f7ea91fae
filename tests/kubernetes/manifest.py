"""Reads the applied objects: a Deployment's numbers, and its container's environment."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tests.kubernetes.api.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, Json, Kind

PROBES = ("startup", "readiness", "liveness")

DEFAULTS: Json = {
    "initialDelaySeconds": 0,
    "periodSeconds": 10,
    "timeoutSeconds": 1,
    "failureThreshold": 3,
    "successThreshold": 1,
}
"""Kubernetes' own values, for fields that a probe leaves out."""

GRACE_S = 30
PROGRESS_DEADLINE_S = 600
PORTS = {8080: "MARU_PORT", 9090: "MARU_INTERNAL_PORT"}
"""The server's variable for each port of the container."""


class Objects(Protocol):
    """The applied objects."""

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return an object."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP probe, in seconds; `port` is the variable of the server's settings for the port."""

    path: str
    port: str
    delay_s: float
    period_s: float
    timeout_s: float
    failures: int
    successes: int


@dataclass(frozen=True)
class Template:
    """The template of a pod. Equal templates are one revision, as with ReplicaSets."""

    id: str
    grace_s: float
    pre_stop_s: float
    probes: tuple[tuple[str, Probe], ...]
    env: tuple[Json, ...]
    env_from: tuple[Json, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def probe(self, name: str) -> Probe | None:
        """Return the probe of that name; None if the container has none."""
        return dict(self.probes).get(name)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The numbers that the Deployment's controller uses."""

    generation: int
    replicas: int
    surge: int
    unavailable: int
    min_ready_s: float
    progress_deadline_s: float
    template: Template


def deployment(store: Objects, namespace: str, name: str) -> Deployment:
    """Read the applied Deployment. Raises `Refused` if there is none, `ValueError` if its strategy is not simulated."""
    body = store.get(DEPLOYMENT, namespace, name)
    spec = body["spec"]
    strategy = spec.get("strategy", {})
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        raise ValueError(f"the simulator knows RollingUpdate only, not {strategy['type']}")
    replicas = spec.get("replicas", 1)
    rolling = strategy.get("rollingUpdate", {})
    surge = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    return Deployment(
        generation=body["metadata"]["generation"],
        replicas=replicas,
        surge=surge,
        unavailable=unavailable or (0 if surge else 1),
        min_ready_s=spec.get("minReadySeconds", 0),
        progress_deadline_s=spec.get("progressDeadlineSeconds", PROGRESS_DEADLINE_S),
        template=pod_template(spec["template"]),
    )


def environment(store: Objects, namespace: str, template: Template) -> dict[str, str]:
    """Return the container's variables as of now: a restarted container reads its ConfigMap again. Raises `Refused`."""
    found: dict[str, str] = {}
    for source in template.env_from:
        found |= dict(_all(store, namespace, source))
    for variable in template.env:
        found[variable["name"]] = _one(store, namespace, variable)
    return found


def pod_template(body: Json) -> Template:
    """Read the template of a pod, or a pod."""
    pod = body["spec"]
    (container,) = pod["containers"]
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
    probes = {name: container[f"{name}Probe"] for name in PROBES if f"{name}Probe" in container}
    return Template(
        id=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:10],
        grace_s=pod.get("terminationGracePeriodSeconds", GRACE_S),
        pre_stop_s=container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0),
        probes=tuple((name, _probe(DEFAULTS | probe, ports)) for name, probe in probes.items()),
        env=tuple(container.get("env", ())),
        env_from=tuple(container.get("envFrom", ())),
    )


def _probe(body: Json, ports: dict[str, int]) -> Probe:
    port = body["httpGet"]["port"]
    return Probe(
        path=body["httpGet"]["path"],
        port=PORTS[ports.get(port, port)],
        delay_s=body["initialDelaySeconds"],
        period_s=body["periodSeconds"],
        timeout_s=body["timeoutSeconds"],
        failures=body["failureThreshold"],
        successes=body["successThreshold"],
    )


def _share(value: int | str, replicas: int, rounded: Any) -> int:
    """Return a number of pods, which is given as such or as a percentage."""
    return value if isinstance(value, int) else rounded(int(value.removesuffix("%")) * replicas / 100)


def _all(store: Objects, namespace: str, source: Json) -> Iterator[tuple[str, str]]:
    prefix = source.get("prefix", "")
    if "configMapRef" in source:
        data = store.get(CONFIG_MAP, namespace, source["configMapRef"]["name"]).get("data", {})
    else:
        data = _secret(store, namespace, source["secretRef"]["name"])
    return ((prefix + name, value) for name, value in data.items())


def _one(store: Objects, namespace: str, variable: Json) -> str:
    if "value" in variable:
        return str(variable["value"])
    reference = variable["valueFrom"]
    if "secretKeyRef" in reference:
        key = reference["secretKeyRef"]
        return _secret(store, namespace, key["name"])[key["key"]]
    key = reference["configMapKeyRef"]
    value: str = store.get(CONFIG_MAP, namespace, key["name"])["data"][key["key"]]
    return value


def _secret(store: Objects, namespace: str, name: str) -> dict[str, str]:
    data = store.get(SECRET, namespace, name).get("data", {})
    return {key: base64.b64decode(value).decode() for key, value in data.items()}
