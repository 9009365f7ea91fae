"""The rendered Deployment in podman. `deploy/image-test.sh` names the image; without one there are no tests here."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest_asyncio
import yaml
from aiohttp import ClientConnectionError, ClientSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.chart.rendered import Object, Rendered, render
from tests.harness.process import free_port

COMMAND_S = 60.0
READY_S = 60.0
LOOK_S = 0.2

if "IMAGE" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


class Pod:
    """The pod of the Deployment, as podman runs it from the rendered objects."""

    def __init__(self, rendered: Rendered, key: Ed25519PrivateKey) -> None:
        self.rendered = rendered
        self.port, self.internal_port = free_port(), free_port()
        self._key = key
        self._ids: list[str] = []

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grace_s(self) -> int:
        """What the chart gives it for its end."""
        grace: int = self.rendered.pod["spec"]["terminationGracePeriodSeconds"]
        return grace

    def token(self, user: str) -> str:
        """A token that the pod's public key verifies."""
        claims = {"sub": user, "exp": int(time.time()) + 600, "channels": {"room:*": ["join", "send"]}}
        return jwt.encode(claims, self._key, algorithm="EdDSA")

    async def start(self) -> None:
        """Play the objects that podman knows, and find the containers that it made of them."""
        await self._podman("kube", "play", "-", stdin=yaml.safe_dump_all(self._playable()))
        instance = self.rendered.pod["metadata"]["labels"]["app.kubernetes.io/instance"]
        found = json.loads(await self._podman("ps", "--all", "--pod", "--format", "json"))
        mine = [item for item in found if item["PodName"].startswith(f"{instance}-")]
        self._ids = [item["Id"] for item in mine if not item["IsInfra"]]
        assert len(self._ids) == 1

    async def ready(self) -> None:
        """Wait until the readiness probe of the chart would pass."""
        path = self.rendered.container["readinessProbe"]["httpGet"]["path"]
        deadline = time.monotonic() + READY_S
        async with ClientSession() as http:
            while await self._status(http, f"http://127.0.0.1:{self.internal_port}{path}") != 200:
                assert time.monotonic() < deadline, f"not ready after {READY_S} s:\n{await self.logs()}"
                await asyncio.sleep(LOOK_S)

    async def run(self, *command: str) -> str:
        """Run a command in the server's container, as the server's user; return what it wrote."""
        return await self._podman("exec", self._ids[0], *command)

    async def python(self, script: str, *arguments: str) -> str:
        """Run a script with the image's Python."""
        return await self.run("python", "-c", script, *arguments)

    async def inspect(self) -> dict[str, Any]:
        """What podman knows of the container."""
        found: dict[str, Any] = json.loads(await self._podman("inspect", self._ids[0]))[0]
        return found

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after the chart's grace period."""
        await self._podman("stop", "--time", str(self.grace_s), self._ids[0], timeout=self.grace_s + COMMAND_S)

    async def logs(self) -> str:
        """What it wrote."""
        return await self._podman("logs", self._ids[0])

    async def remove(self) -> None:
        """Take it away, whatever state it is in."""
        await self._podman("kube", "down", "-", stdin=yaml.safe_dump_all(self._playable()))

    def _playable(self) -> list[Object]:
        """The ConfigMap and the Deployment as they are, but for the ports: published on 127.0.0.1 alone."""
        deployment = self.rendered.one("Deployment")
        ports = self.rendered.container["ports"]
        for port, host in zip(ports, (self.port, self.internal_port), strict=True):
            port |= {"hostPort": host, "hostIP": "127.0.0.1"}
        return [*self.rendered.of("ConfigMap"), deployment]

    async def _podman(self, *arguments: str, stdin: str = "", timeout: float = COMMAND_S) -> str:
        process = await asyncio.create_subprocess_exec(
            "podman",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(timeout):
            said, problems = await process.communicate(stdin.encode())
        assert process.returncode == 0, problems.decode()
        return said.decode() + (problems.decode() if arguments[0] == "logs" else "")

    async def _status(self, http: ClientSession, url: str) -> int | None:
        try:
            async with asyncio.timeout(2.0), http.get(url) as response:
                return response.status
        except (ClientConnectionError, TimeoutError):
            return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod() -> AsyncIterator[Pod]:
    """The pod of the chart with an embedded log that ends with it, ready."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    repository, _, tag = os.environ["IMAGE"].rpartition(":")
    values = {
        "auth": {"jwtPublicKey": public},
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "persistence": {"enabled": False},
    }
    running = Pod(render(values, name=f"maru-image-{secrets.token_hex(4)}"), key)
    try:
        await running.start()
        await running.ready()
        yield running
    finally:
        await running.remove()
