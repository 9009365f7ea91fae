"""The peers in Python: Maru itself, and stock python-socketio on aiohttp."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.client_protocols import padding
from bench.peers.base import Peer, Setting, started
from bench.processes import Process, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def maru(
    name: str, setting: Setting, log: str, loop: str = "uvloop", program: Sequence[str] = ("-m", "server")
) -> Peer:
    """`python -m server` at its defaults, so with a log line a command (to a file); one process a replica.

    `program` is what Python runs: the server, or something around it.
    """
    ports = tuple(free_port() for _ in range(setting.replicas))
    processes = [
        Process([sys.executable, *program], setting.cores.server, _env(setting, port, log, loop), setting.folder)
        for port in ports
    ]
    return started(Peer(name, "maru", ports, processes))


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
            **setting.variables,
        }
    )


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
