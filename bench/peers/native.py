"""The peers in other languages: Socket.IO on Node, NATS (Go), nchan in nginx (C), and the bare loop of `send` (C)."""

import shutil
import string
import subprocess
import sys
from pathlib import Path

from bench.client_protocols import padding
from bench.peers.base import Peer, Setting, started
from bench.processes import NotAvailable, Process, free_port

HERE = Path(__file__).parent
NODE = HERE / "node"
COMPILE_S = 60.0
INSTALL_S = 120.0

NCHAN_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
    Path("/etc/nginx/modules/ngx_nchan_module.so"),
)


def node(name: str, setting: Setting) -> Peer:
    """The script in `node/`; its packages are installed by its lock file, once."""
    program = _found("node")
    if not (NODE / "node_modules/.package-lock.json").exists():
        _run([_found("npm"), "ci", "--no-audit", "--no-fund", "--prefix", str(NODE)], INSTALL_S)
    ports = tuple(free_port() for _ in range(setting.replicas))
    redis = [setting.redis_url] if setting.redis_url is not None else []
    script = str(NODE / "server.js")
    processes = [
        Process([program, script, str(port), str(padding("socket.io")), *redis], setting.cores.server) for port in ports
    ]
    return started(Peer(name, "socket.io", ports, processes))


def nats(name: str, setting: Setting) -> Peer:
    """The server of the Debian package; Go sees one core, as it is pinned to one."""
    program, port = _found("nats-server"), free_port()
    conf = _fill("nats.conf", setting.folder / f"nats-{port}.conf", port=port, core_port=free_port())
    return started(Peer(name, "nats", (port,), [Process([program, "-c", str(conf)], setting.cores.server)]))


def nchan(name: str, setting: Setting) -> Peer:
    """nginx with the Debian package's module, all its files in a folder of its own."""
    program, port = _found("nginx"), free_port()
    module = next((path for path in NCHAN_MODULES if path.exists()), None)
    if module is None:
        raise NotAvailable("nginx has no nchan module: install libnginx-mod-nchan")
    folder = setting.folder / f"nginx-{port}"
    folder.mkdir()
    conf = _fill("nginx.conf", folder / "nginx.conf", port=port, folder=folder, module=module)
    return started(
        Peer(name, "nchan", (port,), [Process([program, "-p", str(folder), "-c", str(conf)], setting.cores.server)])
    )


def bare(name: str, setting: Setting) -> Peer:
    """Start `bare.c`, compiled now; without a compiler, `bare.py`."""
    port, size = free_port(), str(setting.size + padding("bare"))
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        command = [sys.executable, str(HERE / "bare.py")]
    else:
        command = [str(setting.folder / f"bare-{port}")]
        _run([compiler, "-O2", "-o", command[0], str(HERE / "bare.c")], COMPILE_S)
    return started(Peer(name, "bare", (port,), [Process([*command, str(port), size], setting.cores.server)]))


def redis(setting: Setting) -> Peer:
    """A Redis for replicas, on the load's core, with an append-only file as in production."""
    port = free_port()
    folder = setting.folder / f"redis-{port}"
    folder.mkdir()
    files = ("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
    command = [_found("redis-server"), "--bind", "127.0.0.1", "--port", str(port), *files]
    return started(Peer("redis", "redis", (port,), [Process(command, setting.cores.load)]))


def _found(command: str) -> str:
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NotAvailable(f"{command} is not installed")
    return path


def _run(command: list[str], timeout_s: float) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.CalledProcessError as error:
        raise NotAvailable(f"{command[0]}: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"{command[0]}: not done after {timeout_s:.0f} s") from error


def _fill(template: str, target: Path, **values: object) -> Path:
    target.write_text(string.Template((HERE / template).read_text()).substitute(values))
    return target
