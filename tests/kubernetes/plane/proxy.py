"""The way from a Service to its pods: EndpointSlices of the real controller become nginx's replicas."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Self

from tests.harness.ingress import Ingress
from tests.kubernetes.api.kinds import Json
from tests.kubernetes.plane.client import Api

SLICES = "apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


class Proxy:
    """Sends newcomers to the ready endpoints of a Service, `delay_s` after these have changed. Use as an async context
    manager.

    `port_of` finds the port of a pod's address. `ready` tells when how many endpoints were ready.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        service: str,
        ingress: Ingress,
        port_of: Callable[[str], int | None],
        delay_s: float,
    ) -> None:
        self._api, self._ingress, self._port_of, self._delay_s = api, ingress, port_of, delay_s
        self._path = SLICES.format(namespace=namespace)
        self._service = service
        self._slices: dict[str, Json] = {}
        self._routed: list[int] = []
        self.ready: list[tuple[float, int]] = []
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def fewest_ready(self, since: float) -> int:
        """Return the fewest ready endpoints since a moment."""
        before = [count for at, count in self.ready if at <= since][-1:]
        return min((*before, *(count for at, count in self.ready if at > since)))

    async def _run(self) -> None:
        selector = f"kubernetes.io/service-name={self._service}"
        async for change, body in self._api.watch(self._path, labelSelector=selector):
            name = body["metadata"]["name"]
            self._slices.pop(name, None)
            if change != "DELETED":
                self._slices[name] = body
            self._route()

    def _route(self) -> None:
        addresses = [
            endpoint["addresses"][0]
            for found in self._slices.values()
            for endpoint in found.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        ]
        self.ready.append((time.monotonic(), len(addresses)))
        ports = sorted(port for ip in addresses if (port := self._port_of(ip)) is not None)
        if ports != self._routed:
            self._routed = ports
            asyncio.get_running_loop().call_later(self._delay_s, self._ingress.route, ports)
