"""A cluster of one Deployment: does what controller and kubelets decide, with real servers behind the real nginx."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.harness.ingress import Ingress
from tests.kubernetes.api.kinds import DEPLOYMENT
from tests.kubernetes.api.store import Refused, Store
from tests.kubernetes.containers import Containers, PodProcess, Stop
from tests.kubernetes.controller import Progress, plan
from tests.kubernetes.manifest import Deployment, deployment, environment
from tests.kubernetes.pod import Pod

TICK_S = 0.05
"""Seconds between two looks at the state machines; far below every number in a manifest."""


class Cluster:
    """Runs the Deployment `name` of a store, as it is applied and changed. Use as an async context manager.

    New clients go to the endpoints, `endpoints_delay_s` after these have changed: routers take so long to notice, while
    a pod's preStop already runs.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        name: str,
        ingress: Ingress,
        folder: Path,
        endpoints_delay_s: float = 0.3,
    ) -> None:
        self.pods: list[Pod] = []  # until they are gone
        self.fewest_serving = 0  # since the last call of `watch`
        self._store, self._namespace, self._name = store, namespace, name
        self._ingress, self._delay_s = ingress, endpoints_delay_s
        self._containers = Containers(folder, self._environment)
        self._numbers = itertools.count(1)  # for names
        self._progress = Progress()
        self._endpoints: list[int] = []  # ports of the serving pods, as nginx is to know them
        self._tasks = asyncio.TaskGroup()  # actions of kubelets
        self._running: asyncio.Task[None] | None = None  # `_run`

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        finally:
            await self._containers.close()

    @property
    def serving(self) -> list[Pod]:
        """The pods behind the Service."""
        return [pod for pod in self.pods if pod.serving]

    @property
    def stops(self) -> list[Stop]:
        """The ends of containers, in their order."""
        return self._containers.stops

    def process(self, pod: Pod) -> PodProcess:
        """A pod's container."""
        return self._containers.process(pod)

    def watch(self) -> None:
        """Begin to count the fewest serving pods."""
        self.fewest_serving = len(self.serving)

    async def until(self, holds: Callable[[], bool], timeout: float) -> None:
        """Wait until `holds` is true. Raises `AssertionError` after `timeout` seconds."""
        assert self._running is not None
        deadline = time.monotonic() + timeout
        while not holds():
            if self._running.done():
                self._running.result()  # raises the error
            assert time.monotonic() < deadline, f"not within {timeout} s:\n{self._story()}"
            await asyncio.sleep(TICK_S)

    async def settled(self, timeout: float) -> None:
        """Wait until every pod is of the applied version and available, and no other pod is left."""

        def holds() -> bool:
            wanted, now = deployment(self._store, self._namespace, self._name), time.monotonic()
            there = [pod for pod in self.pods if pod.available(now, wanted.min_ready_s)]
            return len(there) == len(self.pods) == wanted.replicas and all(
                pod.template == wanted.template for pod in there
            )

        await self.until(holds, timeout)

    def _story(self) -> str:
        """Describe the pods, with the last output of each."""
        pods = [(pod, self._containers.find(pod)) for pod in self.pods]
        told = [
            f"{pod.name} ready={pod.ready} deleted={pod.deleted_at} restarts={pod.restarts}\n"
            f"{process.output[-1_000:] if process else 'never ran'}"
            for pod, process in pods
        ]
        return "\n".join(told)

    async def _run(self) -> None:
        async with self._tasks:
            while True:
                with contextlib.suppress(Refused):  # nothing is installed yet
                    self._step(deployment(self._store, self._namespace, self._name), time.monotonic())
                await asyncio.sleep(TICK_S)

    def _step(self, wanted: Deployment, now: float) -> None:
        todo = plan(wanted, self.pods, now)
        for pod in todo.delete:
            pod.delete(now)
        for _ in range(todo.create):
            self.pods.append(Pod(f"pod-{next(self._numbers)}", wanted.template, now))
        for pod in self.pods:
            for action in pod.due(now):
                self._tasks.create_task(self._containers.do(pod, action))
        self.pods = [pod for pod in self.pods if not pod.gone]
        self.fewest_serving = min(self.fewest_serving, len(self.serving))
        self._route()
        status = self._progress.status(wanted, self.pods, now)
        self._store.report(DEPLOYMENT, self._namespace, self._name, status)

    def _route(self) -> None:
        ports = [self.process(pod).port for pod in self.serving]
        if ports != self._endpoints:
            self._endpoints = ports
            asyncio.get_running_loop().call_later(self._delay_s, self._ingress.route, ports)

    async def _environment(self, pod: Pod) -> Mapping[str, str]:
        return environment(self._store, self._namespace, pod.template)
