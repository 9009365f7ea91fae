"""A real PostgreSQL in a process of its own, its standbys, and a PgBouncer before it."""

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from tests.harness.process import Process
from tests.harness.waiting import polled

START_S = 30.0

USER = "postgres" if os.geteuid() == 0 else None
"""PostgreSQL and PgBouncer refuse to run as root."""

_QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "shared_buffers": "32MB"}
"""What is written survives the death of every process, though not that of the machine: enough for tests."""


def _tool(name: str) -> str:
    """Return the path of a program of PostgreSQL, the newest version's: Debian has them outside of PATH."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which(name, path=os.pathsep.join([*map(str, reversed(homes)), os.environ.get("PATH", "")]))
    assert found is not None, f"{name} is not installed: apt-get install postgresql"
    return found


def _folder(name: str) -> Path:
    """Make a folder that PostgreSQL's user may enter: pytest's own belong to the tests' user alone."""
    folder = Path(tempfile.mkdtemp(prefix=f"maru-{name}-"))
    if USER is not None:
        shutil.chown(folder, USER, USER)
    return folder


def _run(*command: str, feed: str = "") -> None:
    ended = subprocess.run(
        command, user=USER, group=USER, cwd="/", input=feed.encode(), capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()


@functools.cache
def _template() -> Path:
    """Make the data that each server begins with: a role `maru` that owns a database of the same name."""
    folder = _folder("template")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data = folder / "data"
    _run(_tool("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    roles = "CREATE ROLE maru LOGIN;\nCREATE DATABASE maru OWNER maru;\n"
    _run(_tool("postgres"), "--single", "-D", str(data), "-c", "fsync=off", "postgres", feed=roles)
    return data


def _is_alive(pid: int) -> bool:
    """Return whether the process runs: one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class PostgresProcess(Process[subprocess.Popen[bytes]]):
    """`postgres` on data of its own, which is removed at the end. Use as an async context manager.

    `url` is that of the role and database `maru`, `superuser_url` that of `postgres` in the same database; neither has
    a password. `options` are settings of the server, e.g. `{"fsync": "on"}`.
    """

    scheme = "postgresql"

    def __init__(self, options: Mapping[str, str] | None = None, *, data: Path | None = None) -> None:
        super().__init__(_folder("postgres") if data is None else data.parent)
        self.options: dict[str, str] = {**_QUICK, **(options or {})}
        self._data = self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://maru@127.0.0.1:{self.port}/maru"

    @property
    def superuser_url(self) -> str:
        """The address for whatever `maru` may not do."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/maru"

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start it (again, on the same port and data), and wait until it serves."""
        if not self._data.exists():
            template = await asyncio.to_thread(_template)
            await asyncio.to_thread(_run, "cp", "-a", str(template), str(self._data))
        self.launch()
        await polled(self._serves, START_S, lambda: f"postgres serves: {self.log()}")

    def launch(self) -> None:
        """Start it, and do not wait."""
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        words = [word for name, value in (settings | self.options).items() for word in ("-c", f"{name}={value}")]
        command = [_tool("postgres"), "-D", str(self._data), *words]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=USER, group=USER, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _serves(self) -> bool:
        try:
            await self.query("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            assert self._process is not None
            assert self._process.poll() is None, f"postgres has ended: {self.log()}"
            return False
        return True

    def log(self) -> str:
        """Return the end of its log."""
        return (self.folder / "postgres.log").read_text(errors="replace")[-2_000:]

    async def query(self, sql: str, *arguments: Any) -> list[Any]:
        """Run a statement as superuser; return its rows."""
        connection = await asyncpg.connect(self.superuser_url, timeout=2.0)
        try:
            return await connection.fetch(sql, *arguments, timeout=10.0)
        finally:
            connection.terminate()

    def psql(self, sql: str) -> None:
        """Run statements as superuser, without the event loop."""
        _run(_tool("psql"), "-v", "ON_ERROR_STOP=1", "-q", "-d", self.superuser_url, feed=sql)

    async def terminate_backends(self, ours: str = "maru") -> int:
        """End the connections of a role, as an operator or a proxy does; return how many there were."""
        return len(await self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ours))

    def _family(self) -> list[int]:
        """Return the postmaster, which is stopped, and all its children."""
        self.send_signal(signal.SIGSTOP)  # it starts no further child
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def freeze(self) -> None:
        """SIGSTOP the server with all its processes: connections stay, nothing is answered."""
        self._signal(self._family(), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(self._family(), signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9` of the server with all its processes, as if the machine had died; wait until all are gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            family = self._family()
            self._signal(family, signal.SIGKILL)
            self._process.wait(timeout=START_S)
            while any(map(_is_alive, family)):
                os.sched_yield()
        self._process = None

    def stop(self) -> None:
        """Stop it as an operator does (`fast`): transactions are rolled back, connections are closed."""
        self.send_signal(signal.SIGINT)
        assert self._process is not None
        self._process.wait(timeout=START_S)
        self._process = None

    async def restart(self) -> None:
        """Stop it as an operator does, and start it again."""
        await asyncio.to_thread(self.stop)
        await self.start()

    @staticmethod
    def _signal(pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def standby(self, options: Mapping[str, str] | None = None) -> "PostgresProcess":
        """Make a standby that follows this server; the caller enters it. It is another process on another port: give it
        the `port` of a dead primary to stand in for an address that moves."""
        data = _folder("standby") / "data"
        copy = [_tool("pg_basebackup"), "-D", str(data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        source = f"host=127.0.0.1 port={self.port} user=postgres"
        await asyncio.to_thread(_run, *copy, "-d", source)
        return PostgresProcess({**self.options, **(options or {})}, data=data)

    async def promote(self) -> None:
        """Let a standby become a primary, with a new timeline."""
        ((promoted,),) = await self.query("SELECT pg_promote(true, 30)")
        assert promoted, self.log()

    async def caught_up(self, standby: "PostgresProcess") -> None:
        """Wait until a standby has replayed all that this server has written."""
        ((place,),) = await self.query("SELECT pg_current_wal_lsn()::text")

        async def holds() -> bool:
            ((there,),) = await standby.query("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", place)
            return bool(there)

        await polled(holds, START_S, lambda: "the standby has caught up")


class PgBouncer(Process[subprocess.Popen[bytes]]):
    """A PgBouncer in transaction mode before a PostgreSQL: each transaction may get another of its few connections."""

    scheme = "postgresql"

    def __init__(self, server: PostgresProcess, *, size: int = 4) -> None:
        super().__init__(_folder("pgbouncer"))
        self._server = server
        self._size = size

    @property
    def url(self) -> str:
        return f"postgresql://maru@127.0.0.1:{self.port}/maru"

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start it (again), before the port that the server has now, and wait until it serves."""
        self.launch()
        await polled(self._serves, START_S, lambda: f"pgbouncer serves; see {self.folder}/pgbouncer.log")

    def launch(self) -> None:
        """Start it, and do not wait."""
        (self.folder / "users.txt").write_text('"maru" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.folder}/users.txt\n"
            f"pool_mode = transaction\ndefault_pool_size = {self._size}\nserver_login_retry = 0.1\n"
        )
        command = ["/usr/sbin/pgbouncer", str(self.folder / "pgbouncer.ini")]
        with (self.folder / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=USER, group=USER, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _serves(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=2.0, statement_cache_size=0)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        connection.terminate()
        return True

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=START_S)
            self._process = None
