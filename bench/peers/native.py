"""The peers in C: nchan in nginx, and the bare loop of `send`; and the Redis that others need."""

import os
import shutil
import sys
from pathlib import Path

from bench.client_protocols import padding
from bench.peers.base import Peer, Setting, started
from bench.peers.programs import HERE, fill, found, run, variable
from bench.processes import NotAvailable, Process, free_port

COMPILE_S = 60.0

NCHAN_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
    Path("/etc/nginx/modules/ngx_nchan_module.so"),
)


def nchan(name: str, setting: Setting) -> Peer:
    """nginx with the Debian package's module, all its files in a folder of its own."""
    program, port = found("nginx"), free_port()
    named = os.environ.get(variable("nchan"))
    modules = NCHAN_MODULES if named is None else (Path(named),)
    module = next((path for path in modules if path.exists()), None)
    if module is None:
        raise NotAvailable(f"nginx has no nchan module: install libnginx-mod-nchan, or name it in {variable('nchan')}")
    folder = setting.folder / f"nginx-{port}"
    folder.mkdir()
    conf = fill("nginx.conf", folder / "nginx.conf", port=port, folder=folder, module=module)
    process = Process([program, "-p", str(folder), "-c", str(conf)], setting.cores.server)
    peer = started(Peer(name, "nchan", (port,), [process]))
    process.has_children()
    return peer


def bare(name: str, setting: Setting) -> Peer:
    """Start `bare.c`, compiled now; without a compiler, `bare.py`."""
    port, size = free_port(), str(setting.size + padding("bare"))
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        command = [sys.executable, str(HERE / "bare.py")]
    else:
        command = [str(setting.folder / f"bare-{port}")]
        run([compiler, "-O2", "-o", command[0], str(HERE / "bare.c")], COMPILE_S)
    return started(Peer(name, "bare", (port,), [Process([*command, str(port), size], setting.cores.server)]))


def redis(setting: Setting) -> Peer:
    """A Redis for replicas, on the load's core, with an append-only file as in production."""
    port = free_port()
    folder = setting.folder / f"redis-{port}"
    folder.mkdir()
    files = ("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
    command = [found("redis-server"), "--bind", "127.0.0.1", "--port", str(port), *files]
    return started(Peer("redis", "redis", (port,), [Process(command, setting.cores.load)]))
