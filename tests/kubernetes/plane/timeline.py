"""What happens in a cluster, second by second."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp

from tests.kubernetes.plane.kubelet import Kubelet
from tests.kubernetes.plane.proxy import Proxy

EVERY_S = 0.25
ANSWER_S = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """Counts at a moment of the monotonic clock: pods with a container, ready endpoints, connected clients."""

    at: float
    pods: int
    ready: int
    connections: int


class Timeline:
    """Looks at the cluster four times a second. Use as an async context manager. `attempts` are the moments at which
    clients connected."""

    def __init__(self, nodes: Callable[[], Sequence[Kubelet]], proxy: Proxy) -> None:
        self._nodes, self._proxy = nodes, proxy
        self.moments: list[Moment] = []
        self.attempts: list[float] = []
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S)) as http:
            while True:
                await self._look(http)
                await asyncio.sleep(EVERY_S)

    async def _look(self, http: aiohttp.ClientSession) -> None:
        ports = [port for node in self._nodes() for pod in node.pods if (port := node.connections_port(pod))]
        counts = await asyncio.gather(*(_connections(http, port) for port in ports))
        ready = self._proxy.ready[-1][1] if self._proxy.ready else 0
        self.moments.append(Moment(time.monotonic(), len(ports), ready, sum(counts)))


async def _connections(http: aiohttp.ClientSession, port: int) -> int:
    """Return the connections of a server; none if it does not answer."""
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            found: int = (await response.json())["connections"]
            return found
    except (aiohttp.ClientError, TimeoutError):
        return 0
