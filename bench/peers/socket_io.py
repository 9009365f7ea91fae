"""Socket.IO in other languages: on Node.js, on Bun, and socketioxide in Rust."""

import os
from pathlib import Path

from bench.client_protocols import padding
from bench.peers.base import Peer, Setting, started
from bench.peers.programs import CACHE, HERE, found, run
from bench.processes import NotAvailable, Process, free_port

NODE, BUN, OXIDE = HERE / "node", HERE / "bun", HERE / "oxide"
INSTALL_S = 120.0
BUILD_S = 600.0
"""A release build of socketioxide takes a minute of two cores."""


def node(name: str, setting: Setting) -> Peer:
    """The script in `node/`; its packages are installed by its lock file, once."""
    program = found("node")
    _installed(NODE)
    ports = tuple(free_port() for _ in range(setting.replicas))
    redis = [setting.redis_url] if setting.redis_url is not None else []
    return _serve(name, [program, str(NODE / "server.js")], ports, setting, redis)


def bun(name: str, setting: Setting) -> Peer:
    """The script in `bun/` on Bun and its own engine; Bun itself comes with the packages if there is none."""
    try:
        program = found("bun")
    except NotAvailable:
        program = str(BUN / "node_modules/.bin/bun")
    _installed(BUN)
    return _serve(name, [program, str(BUN / "server.js")], (free_port(),), setting)


def oxide(name: str, setting: Setting) -> Peer:
    """socketioxide on tokio's single-threaded runtime, built by cargo, once."""
    return _serve(name, [oxide_program()], (free_port(),), setting)


def oxide_program() -> str:
    """Return the path of the program in `oxide/`; build it if it has not been built. Raises `NotAvailable`."""
    if named := os.environ.get("MARU_BENCH_OXIDE_PEER"):
        return named
    program = CACHE / "oxide" / "release" / "oxide-peer"
    if not program.exists():
        build = [found("cargo"), "build", "--release", "--locked", "--quiet"]
        run([*build, "--manifest-path", str(OXIDE / "Cargo.toml"), "--target-dir", str(CACHE / "oxide")], BUILD_S)
    return str(program)


def _serve(
    name: str, command: list[str], ports: tuple[int, ...], setting: Setting, further: list[str] | None = None
) -> Peer:
    pad = str(padding("socket.io"))
    processes = [Process([*command, str(port), pad, *(further or [])], setting.cores.server) for port in ports]
    return started(Peer(name, "socket.io", ports, processes))


def _installed(folder: Path) -> None:
    if not (folder / "node_modules/.package-lock.json").exists():
        run([found("npm"), "ci", "--no-audit", "--no-fund", "--prefix", str(folder)], INSTALL_S)
