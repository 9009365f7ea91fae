"""The parts of every scenario: Redis, the API server with the release's Secret, nginx, the cluster, and the clients."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.events import Event
from tests.clients.crowd import Crowd, Part
from tests.harness.ingress import Ingress
from tests.harness.redis import RedisProcess
from tests.harness.server import ROOT
from tests.harness.server import SECRET as JWT_SECRET
from tests.kubernetes.api.kinds import DEPLOYMENT, SECRET, Json
from tests.kubernetes.api.server import NAMESPACE, FakeApiServer
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.releases import Releases
from tests.kubernetes.upgrade.verdict import Observed

CHART = ROOT / "charts/maru"
RELEASE = "maru"
KEYS = "maru-keys"
VALUES: Json = {
    "replicaCount": 2,
    "auth": {"existingSecret": KEYS},
    "redis": {"existingSecret": KEYS},
    "drain": {"preStopSleepSeconds": 3, "timeoutSeconds": 10, "marginSeconds": 4},
    "terminationGracePeriodSeconds": 17,
    "minReadySeconds": 1,
    "progressDeadlineSeconds": 30,
    "probes": {"startup": {"periodSeconds": 1}, "readiness": {"periodSeconds": 1}},
}
"""All numbers are smaller than the defaults, and in proportion, so that an upgrade takes seconds."""

CHANNELS = tuple(f"room:{number}" for number in range(20))

READY_S = 30.0
"""From the installation until all pods serve."""

SCENARIO_S = 120.0
"""For a whole scenario. It is below the test's own deadline, at which nothing would stop the processes."""

PAGE = 1_000
FOR_EVER_MS = 10 * 365 * 24 * 3_600_000
EVERYTHING = 10_000_000


class Stage:
    """Use as an async context manager: entering installs the chart with `values`, and waits until it serves.

    `tamper` changes the applied Deployment before there is a pod.
    """

    def __init__(
        self,
        folder: Path,
        values: Json,
        *,
        endpoints_delay_s: float = 0.3,
        tamper: Callable[[Json], None] | None = None,
    ) -> None:
        self._values, self._tamper = values, tamper
        self.api = FakeApiServer()
        self.redis = RedisProcess(folder / "redis")
        (folder / "ingress").mkdir()
        self.ingress = Ingress(folder / "ingress")
        self.releases = Releases(self.api.access, CHART, RELEASE)
        self.cluster = Cluster(
            self.api.store, NAMESPACE, RELEASE, self.ingress, folder, endpoints_delay_s=endpoints_delay_s
        )
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            for part in (self.redis, self.api, self.ingress):
                await resources.enter_async_context(part)
            self.api.store.create(SECRET, NAMESPACE, self._secret())
            await resources.enter_async_context(self.releases)
            await self.releases.install(self._values)
            if self._tamper is not None:
                self.api.store.patch(DEPLOYMENT, NAMESPACE, RELEASE, self._tamper)
            await resources.enter_async_context(self.cluster)
            await self.cluster.settled(READY_S)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._resources.aclose()

    async def logs(self) -> dict[str, list[Event]]:
        """Return the log of every channel, read without a server."""
        log = RedisMessageLog(self.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS)
        async with log:
            return await whole_logs(log)

    def _secret(self) -> Json:
        keys = {"jwt-secret": JWT_SECRET, "redis-url": self.redis.url}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
        return {"metadata": {"name": KEYS}, "data": data, "type": "Opaque"}


async def observe(
    stage: Stage, parts: Sequence[Part], deed: Callable[[], Awaitable[None]], killed: Callable[[], set[str]] = set
) -> Observed:
    """Let clients talk while `deed` changes the release; return all observations. Leaves the stage."""
    async with asyncio.timeout(SCENARIO_S), stage:
        async with Crowd(stage.ingress.url, parts, CHANNELS) as crowd:
            talked_at = time.monotonic()
            await crowd.talk()
            await deed()
            await crowd.hush()
            logs = await stage.logs()
            members = await crowd.report({channel: len(log) for channel, log in logs.items()})
        stops = list(stage.cluster.stops)
    # Not before: nginx logs a WebSocket when it is closed.
    turned_away = stage.ingress.turned_away()
    return Observed(logs, members, stops, talked_at, turned_away, frozenset(killed()))


async def whole_logs(log: RedisMessageLog) -> dict[str, list[Event]]:
    """Return the log of every channel."""
    return {channel: await _whole(log, channel) for channel in CHANNELS}


async def _whole(log: RedisMessageLog, channel: str) -> list[Event]:
    found: list[Event] = []
    while True:
        try:
            replay = await log.read(ChannelName(channel), len(found), PAGE)
        except Unavailable:  # this reader had to wait too long; the scenario's deadline bounds the loop
            continue
        found += replay.events
        if len(found) >= replay.head.offset:
            return found
