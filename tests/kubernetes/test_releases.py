"""The real Helm engine works with the fake API server: releases succeed, fail, and are rolled back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import helm_python as helm
import pytest
import pytest_asyncio

from tests.kubernetes.api.kinds import DEPLOYMENT, KINDS, SECRET, Json
from tests.kubernetes.api.server import NAMESPACE, FakeApiServer
from tests.kubernetes.releases import Releases

CHART_YAML = "apiVersion: v2\nname: tiny\nversion: 0.1.0\n"

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tiny}
data: {tag: {{ .Values.tag | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tiny}
spec:
  replicas: 2
  selector: {matchLabels: {app: tiny}}
  {{- with .Values.wrong }}
  {{ . }}: 1
  {{- end }}
  template:
    metadata: {labels: {app: tiny}}
    spec: {containers: [{name: tiny, image: "tiny:{{ .Values.tag }}"}]}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """Write a chart of a Deployment and a ConfigMap."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(CHART_YAML)
    (tmp_path / "values.yaml").write_text("tag: one\nwrong: null\n")
    (tmp_path / "templates/all.yaml").write_text(TEMPLATE)
    return tmp_path


@pytest_asyncio.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    """Run an empty API server."""
    async with FakeApiServer() as api:
        yield api


@pytest_asyncio.fixture
async def releases(api: FakeApiServer, chart: Path) -> AsyncIterator[Releases]:
    """Return the tiny chart, not installed yet."""
    async with Releases(api.access, chart, "tiny") as releases:
        yield releases


def report(api: FakeApiServer, reason: str) -> None:
    """Report a status of the present Deployment, as its controller does."""
    generation = api.store.get(DEPLOYMENT, NAMESPACE, "tiny")["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    failed = reason == "ProgressDeadlineExceeded"
    conditions: list[Json] = [
        {"type": "Available", "status": "True"},
        {"type": "Progressing", "status": "False" if failed else "True", "reason": reason},
    ]
    status = {"observedGeneration": generation, **counts, "conditions": conditions}
    api.store.report(DEPLOYMENT, NAMESPACE, "tiny", status)


async def once_applied(api: FakeApiServer, generation: int, reason: str) -> None:
    """Report a status when the Deployment has changed."""
    async for change in api.store.watch(DEPLOYMENT, initial=True):
        if change.object["metadata"].get("generation") == generation:
            report(api, reason)
            return


def image(api: FakeApiServer) -> str:
    """Return the image that is applied now."""
    spec = api.store.get(DEPLOYMENT, NAMESPACE, "tiny")["spec"]["template"]["spec"]
    return str(spec["containers"][0]["image"])


async def test_an_installation_leaves_its_objects_and_its_release(api: FakeApiServer, releases: Releases) -> None:
    """By server-side apply, and as a Secret in Helm's own format."""
    release = await releases.install({"tag": "one"})
    assert (release["status"], release["revision"]) == ("deployed", 1)
    assert image(api) == "tiny:one"
    (secret,) = api.store.list(SECRET, NAMESPACE)
    assert secret["type"] == "helm.sh/release.v1"
    assert secret["metadata"]["labels"]["status"] == "deployed"
    assert any(line.startswith("PATCH") and "fieldValidation=Strict" in line for line in api.requests)


async def test_an_upgrade_waits_until_the_deployment_is_complete(api: FakeApiServer, releases: Releases) -> None:
    """Helm watches it."""
    await releases.install({"tag": "one"})
    upgrade = asyncio.create_task(releases.upgrade({"tag": "two"}, timeout_s=20))
    await asyncio.wait_for(once_applied(api, 2, "ReplicaSetUpdated"), 10)
    report(api, "NewReplicaSetAvailable")
    assert (await upgrade)["revision"] == 2
    assert image(api) == "tiny:two"


async def test_an_upgrade_that_stalls_fails_and_is_rolled_back(api: FakeApiServer, releases: Releases) -> None:
    """Helm's error has the reason; the history has the failure; the first version is applied again."""
    await releases.install({"tag": "one"})
    stalls = asyncio.create_task(once_applied(api, 2, "ProgressDeadlineExceeded"))
    with pytest.raises(helm.HelmReleaseError, match="Progress deadline exceeded"):
        await releases.upgrade({"tag": "two"}, timeout_s=20)
    await stalls
    recovers = asyncio.create_task(once_applied(api, 3, "NewReplicaSetAvailable"))
    await releases.rollback(1, timeout_s=20)
    await recovers
    assert await releases.history() == ["superseded", "failed", "deployed"]
    assert image(api) == "tiny:one"


async def test_an_object_that_kubernetes_would_refuse_is_refused(api: FakeApiServer, releases: Releases) -> None:
    """An unknown field, as with strict validation."""
    with pytest.raises(helm.HelmReleaseError, match="replicaz"):
        await releases.install({"tag": "one", "wrong": "replicaz"})


async def test_every_kind_is_discovered(api: FakeApiServer) -> None:
    """A group and version lists its kinds, and says that their PATCH can validate."""
    async with aiohttp.ClientSession(api.url) as http:
        for kind in KINDS:
            async with http.get(f"/{kind.root}") as listed, http.get(f"/openapi/v3/{kind.root}") as described:
                assert kind.name in [found["kind"] for found in (await listed.json())["resources"]]
                patches = [path["patch"] for path in (await described.json())["paths"].values()]
                assert kind.gvk in [patch["x-kubernetes-group-version-kind"] for patch in patches]
