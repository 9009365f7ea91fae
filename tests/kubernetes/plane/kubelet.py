"""A node of a cluster: does for the pods that are bound to it what a kubelet does, with real servers as containers.

A pod's address is one of 10.244.0.0/16, since the API server takes no loopback address; the server itself listens on
free ports of 127.0.0.1, which `port_of` knows.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.kubernetes.api.kinds import Json
from tests.kubernetes.containers import Containers, Stop
from tests.kubernetes.manifest import environment, pod_template
from tests.kubernetes.plane.client import Api, ApiError
from tests.kubernetes.plane.objects import Referenced, lease, mounted, node, rfc3339, status
from tests.kubernetes.pod import Pod

TICK_S = 0.05

LEASE_S = 1.0
"""Between two renewals of the node's Lease."""

NODE = "api/v1/nodes"
LEASES = "apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass(slots=True, eq=False)
class Placed:
    """A pod on this node. `reported` is what the API server was told last."""

    uid: str
    body: Json
    pod: Pod
    ip: str
    born: str
    ready_since: str
    reported: tuple[bool, bool, bool, int] | None = None

    @property
    def path(self) -> str:
        """Its place in the API."""
        metadata = self.body["metadata"]
        return f"api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def changed(self) -> bool:
        """Say whether there is something to report, and take it as reported."""
        pod = self.pod
        seen = (pod.running, pod.started, pod.ready, pod.restarts)
        if self.reported is not None and self.reported[2] != pod.ready:
            self.ready_since = rfc3339()
        if seen == self.reported:
            return False
        self.reported = seen
        return True


class Kubelet:
    """Node number `number` of a cluster. Use as an async context manager: entering makes the node.

    `volumes` is the folder of all claims, which all nodes share.
    """

    def __init__(self, api: Api, name: str, number: int, folder: Path, volumes: Path) -> None:
        self.name = name
        self.lives = True
        self._api, self._number = api, number
        self._host = f"10.240.0.{number}"
        self._folder, self._volumes = folder, volumes
        self._containers = Containers(folder, self._environment)
        self._placed: dict[str, Placed] = {}
        self._addresses = 0
        self._ports: dict[str, int] = {}  # of the servers, by the address of their pod
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir()
        body = node(self.name, self._host)
        await self._api.post(NODE, body)
        await self._api.patch(f"{NODE}/{self.name}/status", {"status": body["status"]})
        await self._api.post(LEASES, lease(self.name))
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._halt()
        finally:
            await self._containers.close()
            await self._api.delete(f"{NODE}/{self.name}")
            await self._api.delete(f"{LEASES}/{self.name}")

    async def _halt(self) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    @property
    def pods(self) -> list[Pod]:
        """The pods, until they are gone."""
        return [placed.pod for placed in self._placed.values()]

    @property
    def stops(self) -> list[Stop]:
        """The ends of containers, in their order."""
        return self._containers.stops

    def check(self) -> None:
        """Raise what has stopped it."""
        assert self._running is not None
        if self._running.done() and not self._running.cancelled():
            self._running.result()

    async def vanish(self) -> None:
        """Be gone for the others without a word, as a machine without power or network: connections stay open, and
        nothing is answered."""
        await self._halt()
        self.lives = False
        for pod in self.pods:
            self._containers.process(pod).send_signal(signal.SIGSTOP)

    async def kill(self, pod: Pod) -> None:
        """`kill -9` a pod's container."""
        await self._containers.process(pod).kill()

    def internal_port(self, pod: Pod) -> int | None:
        """The internal port of a pod with a container."""
        process = self._containers.find(pod)
        return None if process is None or not pod.running else process.internal_port

    def port_of(self, ip: str) -> int | None:
        """Return the public port of the pod with that address."""
        for placed in self._placed.values():
            process = self._containers.find(placed.pod)
            if placed.ip == ip and process is not None:
                return process.port
        return None

    def story(self) -> str:
        """Describe the pods, with the last output of each."""
        told = [f"{self.name}:"]
        for pod in self.pods:
            process = self._containers.find(pod)
            told.append(f"{pod.name} ready={pod.ready} deleted={pod.deleted_at} restarts={pod.restarts}")
            told.append(process.output[-1_000:] if process else "never ran")
        return "\n".join(told)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            tasks.create_task(self._watch())
            while True:
                now = time.monotonic()
                for placed in list(self._placed.values()):
                    for action in placed.pod.due(now):
                        tasks.create_task(self._containers.do(placed.pod, action))
                    await self._report(placed)
                await asyncio.sleep(TICK_S)

    async def _renew(self) -> None:
        while True:
            await self._api.patch(f"{LEASES}/{self.name}", {"spec": lease(self.name)["spec"]})
            await asyncio.sleep(LEASE_S)

    async def _watch(self) -> None:
        async for change, body in self._api.watch("api/v1/pods", fieldSelector=f"spec.nodeName={self.name}"):
            uid = body["metadata"]["uid"]
            if change == "DELETED":  # by force, or by us
                if (placed := self._placed.get(uid)) is not None:
                    placed.pod.delete(time.monotonic())
                continue
            placed = self._placed.get(uid) or self._place(uid, body)
            placed.body = body
            if "deletionTimestamp" in body["metadata"]:
                placed.pod.delete(time.monotonic())

    def _place(self, uid: str, body: Json) -> Placed:
        self._addresses += 1
        now = rfc3339()
        pod = Pod(body["metadata"]["name"], pod_template(body), time.monotonic())
        ip = f"10.244.{self._number}.{self._addresses}"
        placed = self._placed[uid] = Placed(uid, body, pod, ip, now, now)
        return placed

    async def _report(self, placed: Placed) -> None:
        if placed.pod.gone:
            del self._placed[placed.uid]
            await self._api.delete(placed.path, gracePeriodSeconds=0, preconditions={"uid": placed.uid})
        elif placed.changed():
            told = status(placed.pod, placed.body, placed.ip, self._host, placed.born, placed.ready_since)
            with contextlib.suppress(ApiError):  # it was deleted by force
                await self._api.patch(f"{placed.path}/status", {"status": told})

    async def _environment(self, pod: Pod) -> Mapping[str, str]:
        placed = next(placed for placed in self._placed.values() if placed.pod is pod)
        namespace = placed.body["metadata"]["namespace"]
        env = environment(await Referenced.of(self._api, placed.body), namespace, pod.template)
        return mounted(env, placed.body, self._volumes, self._folder / pod.name)
