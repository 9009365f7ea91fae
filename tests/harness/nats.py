"""A real NATS server in a process of its own, with JetStream: started, killed, frozen and restarted by tests."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.harness.process import Process, free_port
from tests.harness.waiting import polled

START_S = 20.0
"""With thousands of streams to look at, on a busy machine."""

GREETING = b"INFO "


class NatsProcess(Process[subprocess.Popen[bytes]]):
    """`nats-server` with JetStream, which keeps its streams in `folder`. Use as an async context manager.

    `options` are command-line options, e.g. `("--user", "maru", "--pass", "secret")`; `client` then connects to `url`
    with them in `login`. `configuration` is the text of a configuration file. Without `jetstream` it has no streams.
    """

    scheme = "nats"

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        *,
        login: str = "",
        configuration: str = "",
        jetstream: bool = True,
    ) -> None:
        super().__init__(folder)
        self._options = tuple(options)
        self._login, self._configuration, self._jetstream = login, configuration, jetstream

    @property
    def url(self) -> str:
        """The address for clients, with the login."""
        at = f"{self._login}@" if self._login else ""
        return f"{self.scheme}://{at}127.0.0.1:{self.port}"

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it (again, on the same port and data), and wait until it serves."""
        self.launch()
        await polled(self._serves, START_S, lambda: f"nats-server serves; see {self.folder}/nats.log")

    async def _serves(self) -> bool:
        """It greets clients once its streams are recovered."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                return (await reader.readline()).startswith(GREETING)
            finally:
                writer.close()
        return False

    def launch(self) -> None:
        """Start it, and do not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--addr", "127.0.0.1", "--port", str(self.port)]
        if self._jetstream:
            options += ["--jetstream", "--store_dir", str(self.folder / "streams")]
        if self._configuration:
            file = self.folder / "nats.conf"
            file.write_text(self._configuration)
            options += ["--config", str(file)]
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nats-server", *options, *self._options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(timeout=START_S)
            self._process = None

    async def restart(self) -> None:
        """`kill -9`, and start it again on its data."""
        self.kill()
        await self.start()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Make a client of the test's own."""
        client = Client()
        await client.connect(self.url)
        try:
            yield client
        finally:
            await client.close()

    def lose_streams(self) -> None:
        """Delete all streams, as in a disaster; from a thread, since nobody awaits this."""
        thread = threading.Thread(target=lambda: asyncio.run(self._delete_streams()))
        thread.start()
        thread.join()

    async def _delete_streams(self) -> None:
        async with self.client() as client:
            context = client.jetstream()
            while found := await context.streams_info():
                for info in found:
                    await context.delete_stream(info.config.name or "")


@asynccontextmanager
async def nats_cluster(folder: Path) -> AsyncIterator[list[NatsProcess]]:
    """Three servers of one cluster, which keep streams together once they have a leader."""
    ports = [free_port() for _ in range(3)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    async with AsyncExitStack() as stack:
        servers = []
        for number, port in enumerate(ports):
            options = ("--name", f"nats-{number}", "--cluster_name", "maru", "--routes", routes)
            server = NatsProcess(folder / f"nats-{number}", (*options, "--cluster", f"nats://127.0.0.1:{port}"))
            servers.append(server)
            stack.callback(server.kill)
        await asyncio.gather(*(server.start() for server in servers))
        await polled(lambda: _leads(servers[0]), START_S, lambda: f"a leader is elected; see {folder}")
        yield servers


async def _leads(server: NatsProcess) -> bool:
    """Say whether the servers agree on a leader."""
    with contextlib.suppress(NatsError):
        async with server.client() as client:
            await client.jetstream(timeout=1).account_info()
            return True
    return False
