"""The processes of a Kubernetes control plane: etcd, the API server, the controllers and the scheduler, on loopback."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.harness.process import Process, free_port
from tests.harness.server import ROOT
from tests.harness.waiting import polled
from tests.kubernetes.plane.client import Api, ApiError

PROGRAMS = ROOT / "build" / "plane"
"""`make cluster-test` builds them there."""

START_S = 60.0
STOP_S = 20.0

NODE_LOST_S = 6
"""A node that has not renewed its Lease for so long is lost."""

EVICT_S = 3
"""Then its pods are replaced after so long."""

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: plane, cluster: {{server: "{url}", certificate-authority: "{certificate}"}}}}]
users: [{{name: admin, user: {{token: "{token}"}}}}]
contexts: [{{name: plane, context: {{cluster: plane, user: admin}}}}]
current-context: plane
"""


class Part(Process[asyncio.subprocess.Process]):
    """A process of the control plane."""

    scheme = "https"

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self._name = name
        self._arguments: Sequence[str] = ()

    def given(self, *arguments: str) -> Self:
        """Name its arguments."""
        self._arguments = arguments
        return self

    @property
    def started(self) -> bool:
        """Whether it was started."""
        return self._process is not None

    @property
    def output(self) -> str:
        """The end of its log."""
        return (self.folder / f"{self._name}.log").read_text(errors="replace")[-3000:]

    async def start(self) -> None:
        """Start it, and do not wait."""
        program = shutil.which(self._name, path=f"{PROGRAMS}:{os.environ['PATH']}")
        assert program is not None, f"{self._name} not found: run make cluster-test"
        with (self.folder / f"{self._name}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                program, *self._arguments, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def check(self) -> None:
        """Fail if it has ended."""
        assert self._process is not None
        assert self._process.returncode is None, f"{self._name} ended:\n{self.output}"


class ControlPlane:
    """A control plane without a node. Use as an async context manager; `api` is the way in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = {
            name: Part(folder, name) for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
        }
        self._token = secrets.token_hex(16)
        certificates = folder / "certificates"
        self.api = Api(self._parts["kube-apiserver"].url, self._token, certificates / "apiserver.crt")
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._write_files()
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._etcd())
            await resources.enter_async_context(self._apiserver())
            await polled(self._has_certificate, START_S, self._story)
            await resources.enter_async_context(self.api)
            await polled(self._serves, START_S, self._story, every_s=0.2)
            for part in (self._controllers(), self._scheduler()):
                await resources.enter_async_context(part)
            # The controllers give each namespace its account, without which no pod can be made.
            await polled(self._has_account, START_S, self._story, every_s=0.2)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    def _etcd(self) -> Part:
        part = self._parts["etcd"]
        client, peer = f"http://127.0.0.1:{part.port}", f"http://127.0.0.1:{free_port()}"
        return part.given(
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _apiserver(self) -> Part:
        part, folder = self._parts["kube-apiserver"], self._folder
        return part.given(
            f"--etcd-servers=http://127.0.0.1:{self._parts['etcd'].port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={part.port}",
            f"--cert-dir={folder / 'certificates'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'account.pub'}",
            f"--service-account-signing-key-file={folder / 'account.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=AlwaysAllow",
            "--endpoint-reconciler-type=none",
            f"--default-not-ready-toleration-seconds={EVICT_S}",
            f"--default-unreachable-toleration-seconds={EVICT_S}",
        )

    def _controllers(self) -> Part:
        part = self._parts["kube-controller-manager"]
        return part.given(
            *self._common(part),
            f"--service-account-private-key-file={self._folder / 'account.key'}",
            f"--node-monitor-grace-period={NODE_LOST_S}s",
            "--node-monitor-period=1s",
            "--node-eviction-rate=10",
            "--secondary-node-eviction-rate=10",
        )

    def _scheduler(self) -> Part:
        part = self._parts["kube-scheduler"]
        return part.given(*self._common(part))

    def _common(self, part: Part) -> tuple[str, ...]:
        return (
            f"--kubeconfig={self._folder / 'kubeconfig'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={part.port}",
        )

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._keep("account.key", private)
        self._keep("account.pub", public)
        self._keep("tokens.csv", f"{self._token},admin,admin\n".encode())
        certificate = self._folder / "certificates" / "apiserver.crt"
        url = self._parts["kube-apiserver"].url
        self._keep("kubeconfig", KUBECONFIG.format(url=url, certificate=certificate, token=self._token).encode())

    def _keep(self, name: str, content: bytes) -> None:
        file = self._folder / name
        file.touch(0o600)
        file.write_bytes(content)

    def _has_certificate(self) -> bool:
        self._check()
        return (self._folder / "certificates" / "apiserver.crt").exists()

    async def _serves(self) -> bool:
        self._check()
        try:
            await self.api.get("api/v1/namespaces/kube-system")
        except (ApiError, aiohttp.ClientError, OSError):
            return False
        return True

    async def _has_account(self) -> bool:
        self._check()
        try:
            await self.api.get("api/v1/namespaces/default/serviceaccounts/default")
        except ApiError:
            return False
        return True

    def _check(self) -> None:
        for part in self._parts.values():
            if part.started:
                part.check()

    def _story(self) -> str:
        return "\n".join(f"{name}:\n{part.output}" for name, part in self._parts.items() if part.started)
