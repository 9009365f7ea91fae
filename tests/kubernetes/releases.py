"""Helm releases by the real Helm engine."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import helm_python as helm

from tests.kubernetes.api.kinds import Json


class Releases:
    """A release of a chart: installs, upgrades and rolls back. Use as an async context manager; entering asks `access`
    for the way to an API server.

    Each call returns when Helm does, `--wait` included. Helm runs in a thread, so the cluster goes on meanwhile.
    """

    def __init__(self, access: Callable[[], helm.Config], chart: Path, name: str) -> None:
        self._access, self._chart, self._name = access, chart, name
        self._open: helm.Config | None = None

    async def __aenter__(self) -> Self:
        self._open = self._access()
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
