"""A real Redis in a process of its own: started, killed, frozen, sent back in time and restarted by tests."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.harness.process import Process
from tests.harness.waiting import polled

START_S = 10.0


class RedisProcess(Process[subprocess.Popen[bytes]]):
    """`redis-server` with an append-only file. Use as an async context manager; `url` has no password.

    `options` are command-line options, e.g. `("--requirepass", "secret")`; `client` then uses the `password`, which may
    be changed. `sentinel_of` makes it a sentinel that watches that port as `mymaster`. `env` are further
    variables of the process.
    """

    scheme = "redis"

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        *,
        password: str | None = None,
        sentinel_of: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self._options = tuple(options)
        self.password = password
        self._sentinel_of = sentinel_of
        self._env = os.environ | dict(env or {})

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it (again, on the same port and data), and wait until it serves."""
        self.launch()
        await polled(self._serves, START_S, lambda: f"redis-server serves; see {self.folder}/redis.log")

    async def _serves(self) -> bool:
        try:
            async with self.client() as client:
                await client.ping()
        except RedisError:
            return False
        return True

    def launch(self) -> None:
        """Start it, and do not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["redis-server", *self._configuration(), *self._options]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _configuration(self) -> list[str]:
        basic = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--daemonize", "no"]
        if self._sentinel_of is None:
            # With `everysec` Redis may answer before it has written, if the disk is busy: a kill loses acked events.
            # Tests of a Redis that comes back older put an older file in its place.
            return [*basic, "--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        watch = self.folder / "sentinel.conf"
        watch.write_text(
            f"sentinel monitor mymaster 127.0.0.1 {self._sentinel_of} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        return [str(watch), "--sentinel", *basic]

    @property
    def runs(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._process is not None

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(timeout=START_S)
            self._process = None

    def save(self, moment: Path) -> None:
        """Keep its data as of now, for `restore`: every write that was answered is in the file."""
        shutil.copytree(self.folder / "appendonlydir", moment)

    async def restore(self, moment: Path) -> None:
        """Restart with the data of `save`."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(moment, self.folder / "appendonlydir")
        await self.start()

    @property
    def node_urls(self) -> Sequence[str]:
        """Its address, as a cluster has several."""
        return (self.url,)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish on a topic of the replicas."""
        await self.command("PUBLISH", topic, payload)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """Make a client of the test's own. Redis may restart: the client connects again."""
        client: Redis = Redis(host="127.0.0.1", port=self.port, password=self.password, protocol=2)
        try:
            yield client
        finally:
            await client.aclose()

    async def command(self, *words: str | int | bytes) -> Any:
        """Run a command; strings come back as bytes."""
        async with self.client() as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]
