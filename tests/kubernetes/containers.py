"""The containers of pods: real servers, which a kubelet starts, probes and stops."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.harness.server import ServerProcess
from tests.kubernetes.pod import Do, Pod


class PodProcess(ServerProcess):
    """The container of a pod: its environment comes from the applied objects, and its ports are free."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        super().__init__(folder)
        system = {name: value for name, value in self._env.items() if not name.startswith("MARU_")}
        place = {"MARU_HOST": "127.0.0.1", "MARU_PORT": str(self.port)}
        internal = {"MARU_INTERNAL_HOST": "127.0.0.1", "MARU_INTERNAL_PORT": str(self.internal_port)}
        self._env = system | dict(env) | place | internal
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


Environment = Callable[[Pod], Awaitable[Mapping[str, str]]]
"""Returns the variables of a pod's container as of now."""


class Containers:
    """Does what pods ask for. `stops` are the ends of containers, in their order. Close it at the end."""

    def __init__(self, folder: Path, environment: Environment) -> None:
        self.stops: list[Stop] = []
        self._folder = folder
        self._environment = environment
        self._processes: dict[Pod, PodProcess] = {}  # the latest container of each pod
        self._told: dict[Pod, float] = {}  # when SIGTERM was sent
        self._http = aiohttp.ClientSession()  # for probes

    async def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            await process.__aexit__()
        await self._http.close()

    def process(self, pod: Pod) -> PodProcess:
        """A pod's container."""
        return self._processes[pod]

    def find(self, pod: Pod) -> PodProcess | None:
        """A pod's container, if it ever had one."""
        return self._processes.get(pod)

    async def do(self, pod: Pod, action: Do) -> None:
        """Do what is due for a pod; return when that is over."""
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
        """Run a container to its end."""
        folder = self._folder / f"{pod.name}-{pod.restarts}"
        folder.mkdir()
        env = await self._environment(pod)
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
