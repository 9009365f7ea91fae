"""The kinds of objects that the fake API server knows: those that the chart may hold, and Helm's own."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

Json = dict[str, Any]

VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: its place in the API, and whether Kubernetes itself defines its schema."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    builtin: bool = True

    @property
    def api_version(self) -> str:
        """Group and version, as an object has them: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path of its group and version, without the leading slash."""
        return f"apis/{self.api_version}" if self.group else f"api/{self.version}"

    @property
    def gvk(self) -> Json:
        """Group, version and kind, as the API writes them."""
        return {"group": self.group, "version": self.version, "kind": self.name}


DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")

KINDS = (
    CONFIG_MAP,
    SECRET,
    Kind("", "v1", "Namespace", "namespaces", namespaced=False),
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("", "v1", "Pod", "pods"),
    Kind("", "v1", "Service", "services"),
    Kind("", "v1", "ServiceAccount", "serviceaccounts"),
    DEPLOYMENT,
    Kind("apps", "v1", "ReplicaSet", "replicasets"),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("batch", "v1", "Job", "jobs"),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", builtin=False),
    Kind("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", builtin=False),
    Kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", builtin=False),
)

BY_PATH = {(kind.root, kind.plural): kind for kind in KINDS}


def roots() -> dict[str, tuple[Kind, ...]]:
    """Return the kinds of each group and version."""
    return {root: tuple(kinds) for root, kinds in groupby(sorted(KINDS, key=_root), key=_root)}


def groups() -> list[Json]:
    """Return the list of `GET /apis`."""
    named = [kind for kind in sorted(KINDS, key=_root) if kind.group]
    found = []
    for group, kinds in groupby(named, key=lambda kind: kind.group):
        versions = [{"groupVersion": name, "version": name.partition("/")[2]} for name in _versions(kinds)]
        found.append({"name": group, "versions": versions, "preferredVersion": versions[0]})
    return found


def resources(kinds: Iterable[Kind]) -> list[Json]:
    """Return the list of `GET` on a group and version."""
    return [
        {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": list(VERBS),
        }
        for kind in kinds
    ]


def openapi(root: str, kinds: Iterable[Kind]) -> Json:
    """Return the part of OpenAPI that Helm reads: a PATCH of each kind takes `fieldValidation`."""
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    paths = {}
    for kind in kinds:
        place = "/namespaces/{namespace}" if kind.namespaced else ""
        patch = {
            "parameters": [parameter],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind.gvk,
        }
        paths[f"/{root}{place}/{kind.plural}/{{name}}"] = {"patch": patch, "parameters": []}
    return {"openapi": "3.0.0", "info": {"title": "fake", "version": "v1"}, "paths": paths}


def _root(kind: Kind) -> str:
    return kind.root


def _versions(kinds: Iterable[Kind]) -> list[str]:
    return list(dict.fromkeys(kind.api_version for kind in kinds))
