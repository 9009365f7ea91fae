"""The parts of a scenario on a real control plane: nodes, Redis, the release, nginx, and clients that talk."""

import asyncio
import base64
import itertools
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Self

from server.adapters.codec import decode_event
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.events import Event
from tests.clients.crowd import Crowd, Part
from tests.harness.cluster import EVERYTHING, FOR_EVER_MS
from tests.harness.ingress import Ingress
from tests.harness.redis import RedisProcess
from tests.harness.server import SECRET as JWT_SECRET
from tests.harness.waiting import polled
from tests.kubernetes.api.kinds import Json
from tests.kubernetes.containers import Stop
from tests.kubernetes.plane.client import ApiError
from tests.kubernetes.plane.kubelet import Kubelet
from tests.kubernetes.plane.processes import ControlPlane
from tests.kubernetes.plane.proxy import Proxy
from tests.kubernetes.plane.timeline import Timeline
from tests.kubernetes.pod import Pod
from tests.kubernetes.releases import Releases
from tests.kubernetes.upgrade.stage import CHANNELS, CHART, KEYS, RELEASE, VALUES, whole_logs
from tests.kubernetes.upgrade.verdict import GAP_S, Observed, judge

SETTLED_S = 60.0

SCENARIO_S = 200.0
"""For a whole scenario. It is below the tests' own deadline, at which nothing would stop the processes."""

HERE = "api/v1/namespaces/"

_numbers = itertools.count(1)


class Stage:
    """Use as an async context manager: entering makes a namespace with the strictest Pod Security, nodes and Redis,
    installs the chart with `values`, and waits until it serves. `delay_s` is the time until newcomers go to other pods
    than before."""

    def __init__(
        self,
        plane: ControlPlane,
        folder: Path,
        values: Json = VALUES,
        *,
        nodes: int = 2,
        chart: Path = CHART,
        delay_s: float = 0.3,
        redis: bool = True,
    ) -> None:
        self.number = next(_numbers)
        self.api = plane.api
        self.namespace = f"chat-{self.number}"
        self.redis = RedisProcess(folder / "redis") if redis else None
        self._values, self._volumes = values, folder / "volumes"
        self.nodes = [
            Kubelet(plane.api, f"node-{self.number}-{number}", number, folder / f"node-{number}", self._volumes)
            for number in range(1, nodes + 1)
        ]
        (folder / "ingress").mkdir()
        self.ingress = Ingress(folder / "ingress")
        self.proxy = Proxy(plane.api, self.namespace, RELEASE, self.ingress, self._port_of, delay_s)
        self.releases = Releases(partial(plane.api.access, self.namespace), chart, RELEASE)
        self.timeline = Timeline(lambda: self.nodes, self.proxy)
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            await self.api.post("api/v1/namespaces", self._space())
            resources.push_async_callback(self.api.delete, f"{HERE}{self.namespace}")
            if self.redis is not None:
                await resources.enter_async_context(self.redis)
            await self._secret()
            await resources.enter_async_context(self.ingress)
            for node in self.nodes:
                await resources.enter_async_context(node)
            await resources.enter_async_context(self.proxy)
            await resources.enter_async_context(self.releases)
            await self.releases.install(self._values)
            await self._bind_claims()
            await self.settled()
            await resources.enter_async_context(self.timeline)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._resources.aclose()

    @property
    def pods(self) -> list[Pod]:
        """The pods of all nodes."""
        return [pod for node in self.nodes for pod in node.pods]

    @property
    def stops(self) -> list[Stop]:
        """The ends of containers, in their order."""
        return sorted((stop for node in self.nodes for stop in node.stops), key=lambda stop: stop.ended_at)

    def node_of(self, pod: Pod) -> Kubelet:
        """The node of a pod."""
        return next(node for node in self.nodes if pod in node.pods)

    async def deployment(self) -> Json:
        """Return the Deployment."""
        return await self.api.get(f"apis/apps/v1/namespaces/{self.namespace}/deployments/{RELEASE}")

    async def scale(self, replicas: int) -> None:
        """Do what `kubectl scale` does."""
        path = f"apis/apps/v1/namespaces/{self.namespace}/deployments/{RELEASE}/scale"
        await self.api.patch(path, {"spec": {"replicas": replicas}})

    async def cordon(self, node: Kubelet, *, closed: bool = True) -> None:
        """Let a node take no further pods; or take some again."""
        await self.api.patch(f"api/v1/nodes/{node.name}", {"spec": {"unschedulable": closed or None}})

    async def evict(self, pod: Pod) -> bool:
        """Ask for a pod's eviction; return whether the disruption budget allows it now."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": self.namespace},
        }
        try:
            await self.api.post(f"{HERE}{self.namespace}/pods/{pod.name}/eviction", body)
        except ApiError as error:
            if error.status != 429:
                raise
            return False
        return True

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], timeout: float = SETTLED_S) -> None:
        """Wait for something."""

        def checked() -> bool | Awaitable[bool]:
            for node in self.nodes:
                node.check()
            return holds()

        await polled(checked, timeout, self._story, every_s=0.1)

    async def settled(self, timeout: float = SETTLED_S) -> None:
        """Wait until every pod is of the applied version and available, and no other pod is left."""

        async def holds() -> bool:
            found = await self.deployment()
            wanted, state = found["spec"]["replicas"], found.get("status", {})
            counts = [state.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
            current = state.get("observedGeneration") == found["metadata"]["generation"]
            there = [len(await self._living()), len([pod for node in self.nodes if node.lives for pod in node.pods])]
            return current and counts == [wanted] * 3 and there == [wanted] * 2

        await self.until(holds, timeout)

    async def _living(self) -> list[Json]:
        """The pods, without those on nodes that have vanished."""
        found = await self.api.get(f"{HERE}{self.namespace}/pods")
        names = {pod.name for pod in self.pods}
        return [pod for pod in found["items"] if pod["metadata"]["name"] in names or not pod["spec"].get("nodeName")]

    async def logs(self) -> Mapping[str, Sequence[Event]]:
        """Return the log of every channel, read without a server."""
        if self.redis is None:
            return self._embedded_logs()
        async with RedisMessageLog(self.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS) as log:
            return await whole_logs(log)

    def _embedded_logs(self) -> Mapping[str, Sequence[Event]]:
        (file,) = self._volumes.rglob("maru.db")
        found: dict[str, list[Event]] = {channel: [] for channel in CHANNELS}
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT c.name, e.payload FROM events e JOIN channels c ON c.id = e.channel_id ORDER BY e.offset"
            )
            for channel, payload in rows:
                found[channel].append(decode_event(payload))
        return found

    def _port_of(self, ip: str) -> int | None:
        return next((port for node in self.nodes if (port := node.port_of(ip)) is not None), None)

    def _space(self) -> Json:
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}

    async def _secret(self) -> None:
        keys = {"jwt-secret": JWT_SECRET} | ({} if self.redis is None else {"redis-url": self.redis.url})
        data = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS}, "data": data}
        await self.api.post(f"{HERE}{self.namespace}/secrets", body)

    async def _bind_claims(self) -> None:
        """Provide a volume for each claim, as a storage class would; the real controller binds the two."""
        claims = await self.api.get(f"{HERE}{self.namespace}/persistentvolumeclaims")
        for claim in claims["items"]:
            spec, metadata = claim["spec"], claim["metadata"]
            volume = {
                "capacity": spec["resources"]["requests"],
                "accessModes": spec["accessModes"],
                "storageClassName": spec.get("storageClassName", ""),
                "claimRef": {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]},
                "hostPath": {"path": str(self._volumes / metadata["name"])},
            }
            name = {"name": f"{metadata['namespace']}-{metadata['name']}"}
            await self.api.post(
                "api/v1/persistentvolumes",
                {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": name, "spec": volume},
            )

    def _story(self) -> str:
        return "\n".join(node.story() for node in self.nodes)


LIE_S = 5.0
"""A readiness probe notices after three periods of a second that a replica is not ready."""


def faults(stage: Stage, observed: Observed, floor: int) -> list[str]:
    """Judge a scenario; return what is wrong. `floor` is the fewest ready endpoints that are allowed."""
    found = list(judge(observed).faults)
    fewest = stage.proxy.fewest_ready(observed.talked_at)
    if fewest < floor:
        found.append(f"{fewest} endpoints were ready, allowed are no fewer than {floor}")
    lie = stage.timeline.longest_lie_s()
    if lie > LIE_S:
        found.append(f"for {lie:.1f} s a replica got clients, and said that it is not ready")
    return found


async def observe(
    stage: Stage,
    parts: Sequence[Part],
    deed: Callable[[], Awaitable[None]],
    *,
    killed: Callable[[], set[str]] = set,
    gap_s: float = GAP_S,
) -> Observed:
    """Let clients talk while `deed` changes the release; return all observations. Leaves the stage."""
    async with asyncio.timeout(SCENARIO_S), stage:
        async with Crowd(stage.ingress.url, parts, CHANNELS) as crowd:
            talked_at = time.monotonic()
            await crowd.talk()
            await deed()
            await crowd.hush()
            stage.timeline.talked_until = time.monotonic()
            logs = await stage.logs()
            members = await crowd.report({channel: len(log) for channel, log in logs.items()})
        stops = stage.stops
    # Not before: nginx logs a WebSocket when it is closed.
    turned_away = stage.ingress.turned_away()
    stage.timeline.attempts = [at for member in members for at in member.attempts]
    return Observed(logs, members, stops, talked_at, turned_away, frozenset(killed()), gap_s)


def changed_chart(folder: Path, file: str, old: str, new: str) -> Path:
    """Copy our chart, with a mistake in one of its files."""
    copy = folder / "chart"
    shutil.copytree(CHART, copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    return copy
