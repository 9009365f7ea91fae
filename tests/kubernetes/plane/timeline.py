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
    """Counts at a moment of the monotonic clock: pods with a container, ready endpoints, connected clients, and pods
    that get clients though they say that they are not ready."""

    at: float
    pods: int
    ready: int
    connections: int
    lying: int


class Timeline:
    """Looks at the cluster four times a second. Use as an async context manager. `attempts` are the moments at which
    clients connected; they talked until `talked_until`."""

    def __init__(self, nodes: Callable[[], Sequence[Kubelet]], proxy: Proxy) -> None:
        self._nodes, self._proxy = nodes, proxy
        self.moments: list[Moment] = []
        self.attempts: list[float] = []
        self.talked_until = 0.0
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def longest_lie_s(self) -> float:
        """Return for how long a pod got clients at a stretch, and said that it is not ready."""
        longest, since = 0.0, None
        for moment in self.moments:
            since = (since or moment.at) if moment.lying else None
            longest = max(longest, 0.0 if since is None else moment.at - since)
        return longest

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S)) as http:
            while True:
                await self._look(http)
                await asyncio.sleep(EVERY_S)

    async def _look(self, http: aiohttp.ClientSession) -> None:
        pods = [(pod, port) for node in self._nodes() for pod in node.pods if (port := node.internal_port(pod))]
        serving = [pod.serving for pod, _ in pods]
        answers = await asyncio.gather(*(_answer(http, port) for _, port in pods))
        ready = self._proxy.ready[-1][1] if self._proxy.ready else 0
        lying = sum(counts and not says for counts, (says, _) in zip(serving, answers, strict=True))
        connections = sum(count for _, count in answers)
        self.moments.append(Moment(time.monotonic(), len(pods), ready, connections, lying))


async def _answer(http: aiohttp.ClientSession, port: int) -> tuple[bool, int]:
    """Return whether a server says that it is ready, and its connections. A server that does not answer says nothing
    against it."""
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status < 400, (await response.json())["connections"]
    except (aiohttp.ClientError, TimeoutError):
        return True, 0
