"""The peers in Python: Maru itself, an earlier Maru, stock python-socketio on aiohttp, and the floor below them all."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.client_protocols import padding
from bench.peers.base import Peer, Setting, started
from bench.processes import NotAvailable, Process, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BEFORE = "MARU_BENCH_BEFORE"


def maru(
    name: str, setting: Setting, log: str, loop: str = "uvloop", program: Sequence[str] = ("-m", "server")
) -> Peer:
    """`python -m server` at its defaults, so with log lines (to a file), but without limits; one process a replica.

    `program` is what Python runs: the server, or something around it.
    """
    ports = tuple(free_port() for _ in range(setting.replicas))
    processes = [
        Process([sys.executable, *program], setting.cores.server, _env(setting, port, log, loop), setting.folder)
        for port in ports
    ]
    return started(Peer(name, "maru", ports, processes))


def before(name: str, setting: Setting, log: str) -> Peer:
    """Start an earlier Maru, to see what a change has brought."""
    return maru(name, replace(setting, source=earlier()), log)


def earlier() -> Path:
    """Return the folder that MARU_BENCH_BEFORE names. Raises `NotAvailable`."""
    source = os.environ.get(BEFORE)
    if not source:
        raise NotAvailable(f"{BEFORE} names no folder with an earlier Maru")
    if not (Path(source) / "server").is_dir():
        raise NotAvailable(f"{BEFORE} names a folder without a Maru: {source}")
    return Path(source).absolute()


def log_of(name: str) -> str:
    """Return the log of a peer that is a Maru, as its name tells it."""
    return next((log for log in ("sqlite", "redis") if log in name), "memory")


def _env(setting: Setting, port: int, log: str, loop: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARU_")}
    redis = {"MARU_REDIS_URL": setting.redis_url} if setting.redis_url is not None else {}
    return (
        inherited
        | redis
        | {
            "PYTHONPATH": f"{setting.source or ROOT}:{ROOT}",
            "MARU_HOST": "127.0.0.1",
            "MARU_PORT": str(port),
            "MARU_INTERNAL_HOST": "127.0.0.1",
            "MARU_INTERNAL_PORT": str(free_port()),
            "MARU_JWT_SECRET": setting.secret,
            "MARU_MESSAGE_LOG": log,
            "MARU_SQLITE_PATH": str(setting.folder / f"maru-{port}.db"),
            "MARU_EVENT_LOOP": loop,
        }
        | _without_limits(setting.source or ROOT)
        | _without_presence(setting.source or ROOT)
        | dict(setting.variables)
    )


def _without_limits(source: Path) -> dict[str, str]:
    """Return the setting that turns all limits off: the load sends hundreds of messages a second for a single user. An
    earlier Maru has no limits, and would refuse the setting."""
    known = (source / "server" / "application" / "limits").is_dir()
    return {"MARU_LIMITS": "off"} if known else {}


def _without_presence(source: Path) -> dict[str, str]:
    """Return the setting that turns presence off: the other peers have none, and its frames are no deliveries."""
    known = (source / "server" / "application" / "people" / "presence.py").is_file()
    return {"MARU_CHANNEL_RULES": '{"*": {"presence": "off"}}'} if known else {}


def stock(name: str, setting: Setting) -> Peer:
    """The script beside this file."""
    ports = tuple(free_port() for _ in range(setting.replicas))
    redis = [setting.redis_url] if setting.redis_url is not None else []
    script = str(HERE / "stock_server.py")
    processes = [
        Process([sys.executable, script, str(port), str(padding("socket.io")), *redis], setting.cores.server)
        for port in ports
    ]
    return started(Peer(name, "socket.io", ports, processes))


def floor(name: str, setting: Setting) -> Peer:
    """The script beside this file."""
    port = free_port()
    command = [sys.executable, str(HERE / "pyfloor.py"), str(port)]
    return started(Peer(name, "maru", (port,), [Process(command, setting.cores.server)]))
