"""Helm releases by the real Helm engine, against the fake API server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import helm_python as helm

from tests.kubernetes.api.kinds import Json
from tests.kubernetes.api.server import FakeApiServer

NAMESPACE = "chat"

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
users: [{{name: nobody, user: {{}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: nobody, namespace: {namespace}}}}}]
current-context: fake
"""


class Releases:
    """A release of a chart: installs, upgrades and rolls back. Use as an async context manager.

    Each call returns when Helm does, `--wait` included. Helm runs in a thread, so the cluster goes on meanwhile.
    """

    def __init__(self, api: FakeApiServer, chart: Path, name: str) -> None:
        self._api, self._chart, self._name = api, chart, name
        self._open: helm.Config | None = None

    async def __aenter__(self) -> Self:
        kubeconfig = KUBECONFIG.format(url=self._api.url, namespace=NAMESPACE)
        self._open = helm.Config(kubeconfig_content=kubeconfig, namespace=NAMESPACE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._config.close()

    @property
    def _config(self) -> helm.Config:
        assert self._open is not None
        return self._open

    async def install(self, values: Json) -> Json:
        """Run `helm install`, which does not wait."""
        found: Json = await asyncio.to_thread(self._config.install, self._chart, self._name, values)
        return found

    async def upgrade(self, values: Json, timeout_s: int) -> Json:
        """Run `helm upgrade --wait`. Raises `HelmError` if the new version does not become ready."""
        found: Json = await self._waiting(self._config.upgrade, self._chart, self._name, values, timeout=timeout_s)
        return found

    async def rollback(self, revision: int, timeout_s: int) -> None:
        """Run `helm rollback --wait`."""
        await self._waiting(self._config.rollback, self._name, version=revision, timeout=timeout_s)

    async def history(self) -> list[str]:
        """Return the state of each revision, from the first to the last."""
        return [release["status"] for release in await asyncio.to_thread(self._config.history, self._name)]

    @staticmethod
    async def _waiting(action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(action, *arguments, wait="watcher", **options)
