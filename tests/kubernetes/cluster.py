"""A cluster of one Deployment: does what controller and kubelets decide, with real servers behind the real nginx."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from tests.harness.ingress import Ingress
from tests.harness.server import ServerProcess
from tests.kubernetes.api.kinds import DEPLOYMENT
from tests.kubernetes.api.store import Refused, Store
from tests.kubernetes.controller import Progress, plan
from tests.kubernetes.manifest import Deployment, deployment, environment
from tests.kubernetes.pod import Do, Pod

TICK_S = 0.05
"""Seconds between two looks at the state machines; far below every number in a manifest."""


class PodProcess(ServerProcess):
    """The container of a pod: its environment comes from the applied objects, and its ports are free."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder)
        system = {name: value for name, value in self._env.items() if not name.startswith("MARU_")}
        place = {"MARU_HOST": "127.0.0.1", "MARU_PORT": str(self.port)}
        internal = {"MARU_INTERNAL_HOST": "127.0.0.1", "MARU_INTERNAL_PORT": str(self.internal_port)}
        self._env = system | env | place | internal
        self.ports = {"MARU_PORT": self.port, "MARU_INTERNAL_PORT": self.internal_port}
        self.launched = asyncio.Event()  # set when there is a process to signal


@dataclass(frozen=True, slots=True)
class Stop:
    """How a container ended. Times are of the monotonic clock; `connections` is their number when SIGTERM came."""

    pod: str
    told_at: float | None
    ended_at: float
    code: int
    killed: bool
    connections: int
    drain_timeout_s: float


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
        self.stops: list[Stop] = []  # of containers, in the order of their ends
        self.fewest_serving = 0  # since the last call of `watch`
        self._store, self._namespace, self._name = store, namespace, name
        self._ingress, self._folder, self._delay_s = ingress, folder, endpoints_delay_s
        self._processes: dict[Pod, PodProcess] = {}  # the latest container of each pod
        self._told: dict[Pod, float] = {}  # when SIGTERM was sent
        self._numbers = itertools.count(1)  # for names
        self._progress = Progress()
        self._endpoints: list[int] = []  # ports of the serving pods, as nginx is to know them
        self._http = aiohttp.ClientSession()  # for probes
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
            for process in self._processes.values():
                await process.__aexit__()
            await self._http.close()

    @property
    def serving(self) -> list[Pod]:
        """The pods behind the Service."""
        return [pod for pod in self.pods if pod.serving]

    def process(self, pod: Pod) -> PodProcess:
        """A pod's container."""
        return self._processes[pod]

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
        pods = [(pod, self._processes.get(pod)) for pod in self.pods]
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
                self._tasks.create_task(self._do(pod, action))
        self.pods = [pod for pod in self.pods if not pod.gone]
        self.fewest_serving = min(self.fewest_serving, len(self.serving))
        self._route()
        status = self._progress.status(wanted, self.pods, now)
        self._store.report(DEPLOYMENT, self._namespace, self._name, status)

    def _route(self) -> None:
        ports = [self._processes[pod].port for pod in self.serving]
        if ports != self._endpoints:
            self._endpoints = ports
            asyncio.get_running_loop().call_later(self._delay_s, self._ingress.route, ports)

    async def _do(self, pod: Pod, action: Do) -> None:
        match action:
            case Do.START:
                await self._start(pod)
            case Do.TERMINATE:
                self._told[pod] = time.monotonic()
                await self._signal(pod, signal.SIGTERM)
            case Do.KILL:
                await self._signal(pod, signal.SIGKILL)
            case _:
                pod.answered(action, await self._ask(pod, action), time.monotonic())

    async def _start(self, pod: Pod) -> None:
        folder = self._folder / f"{pod.name}-{pod.restarts}"
        folder.mkdir()
        env = environment(self._store, self._namespace, pod.template)
        process = self._processes[pod] = PodProcess(folder, env)
        await process.launch()
        process.launched.set()
        code = await process.ended()
        now = time.monotonic()
        had = next((line["connections"] for line in process.lines if line.get("event") == "stopping"), 0)
        timeout_s = float(env["MARU_DRAIN_TIMEOUT"])
        self.stops.append(Stop(pod.name, self._told.pop(pod, None), now, code, pod.killed, had, timeout_s))
        pod.exited(now)

    async def _signal(self, pod: Pod, number: signal.Signals) -> None:
        process = self._processes[pod]
        await process.launched.wait()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    async def _ask(self, pod: Pod, action: Do) -> bool:
        probe = pod.template.probe(action)
        assert probe is not None
        process = self._processes.get(pod)
        if process is None:
            return False
        url = f"http://127.0.0.1:{process.ports[probe.port]}{probe.path}"
        timeout = aiohttp.ClientTimeout(probe.timeout_s)
        try:
            async with self._http.get(url, timeout=timeout) as response:
                return response.status < 400
        except (aiohttp.ClientError, TimeoutError):
            return False
