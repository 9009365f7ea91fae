"""The chart as the real Helm engine renders it, and Kubernetes' own schemas to hold it against."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "charts" / "maru"

OLDEST = "1.30"
"""The oldest Kubernetes that the chart is for; `kubeVersion` in Chart.yaml says so too."""

NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]

CUSTOM = frozenset({"HTTPRoute", "ServiceMonitor", "PrometheusRule"})
"""Kinds that a cluster has only if somebody installed them; Kubernetes has no schema of them."""

Object = dict[str, Any]
Values = Mapping[str, Any]

AUTH: Values = {"auth": {"existingSecret": "maru-secrets"}}
"""The least that has to be said."""

REDIS: Values = {"redis": {"existingSecret": "maru-secrets"}}


def merged(*several: Values) -> dict[str, Any]:
    """Values over values, deeply, the last one winning; as several `-f` of Helm."""
    result: dict[str, Any] = {}
    for values in several:
        for key, value in values.items():
            below = result.get(key)
            result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return result


class _Loader(yaml.SafeLoader):
    """Takes no key twice, as the API server takes none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice among {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep)


class Rendered:
    """What one `helm template` gives: its objects and its notes."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
        manifests = (text for path, text in files.items() if not path.endswith("NOTES.txt"))
        self.objects: list[Object] = [found for text in manifests for found in yaml.load_all(text, _Loader) if found]

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of a kind, or the only one of that name."""
        found = [item for item in self.of(kind) if name is None or item["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects of kind {kind} named {name}"
        return found[0]

    @property
    def pod(self) -> Object:
        """The Deployment's pod."""
        template = self.one("Deployment")["spec"]["template"]
        assert isinstance(template, dict)
        return template

    @property
    def container(self) -> Object:
        """The server's container."""
        (container,) = self.pod["spec"]["containers"]
        assert isinstance(container, dict)
        return container

    def __iter__(self) -> Iterator[Object]:
        return iter(self.objects)


def render(*several: Values, name: str = "chat", namespace: str = "talk") -> Rendered:
    """Render the chart with these values over its defaults. Raises `helm_python.HelmError`."""
    with helm_python.Chart.load(CHART) as chart:
        return Rendered(chart.render(merged(*several), name=name, namespace=namespace))


def refusal(*several: Values) -> str:
    """What Helm says as it refuses these values."""
    try:
        render(*several)
    except (helm_python.HelmValuesError, helm_python.HelmRenderError) as error:
        return str(error)
    raise AssertionError(f"these values were taken: {merged(*several)}")


def faults(found: Object) -> list[str]:
    """What the strict schemas of the oldest and of the newest Kubernetes have against an object."""
    if found["kind"] in CUSTOM:
        return []
    text = json.dumps(found, sort_keys=True)
    return [fault for version in (OLDEST, NEWEST) if (fault := _fault(text, version))]


@functools.cache
def _fault(text: str, version: str) -> str | None:
    found = json.loads(text)
    try:
        assert kubernetes_validate.validate(found, version, strict=True) == version
    except kubernetes_validate.ValidationError as error:
        return f"{version}: {found['kind']}: {list(error.absolute_path)}: {error.message[:300]}"
    return None
