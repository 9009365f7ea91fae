"""The machine that measures: which core serves, which loads, and how a report describes it."""

import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.programs import found
from bench.processes import NotAvailable

COMMAND_S = 10.0
"""A program asked for its version answers within this."""

VERSIONS: Mapping[str, tuple[str, ...]] = {
    "Node.js": ("node", "--version"),
    "Bun": ("bun", "--version"),
    "Centrifugo": ("centrifugo", "version"),
    "nats-server": ("nats-server", "--version"),
    "nginx": ("nginx", "-v"),
    "Redis": ("redis-server", "--version"),
    "gcc": ("gcc", "-dumpfullversion"),
}


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of server and load. On a machine with one core they share it, and every figure is lower."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether load and server take each other's time."""
        return self.server == self.load


def cores() -> Cores:
    """The first core for the server, the last for the load, of those that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files for this process and its children, as far as the machine permits; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((max(hard, wanted),) * 2, (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        except (ValueError, OSError):
            continue
        return limit[0]
    return soft


def describe() -> dict[str, str]:
    """Return the facts that a reader needs to compare figures: processor, cores, memory, kernel, versions."""
    place = cores()
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}: server on {place.server}, load on {place.load}"
        + (" (one core: load and server share it, figures are low)" if place.shared else ""),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    } | {name: version(command) for name, command in VERSIONS.items()}


def version(command: tuple[str, ...]) -> str:
    """The first line that a program says of itself; or that it is not there."""
    try:
        program = found(command[0])
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except (NotAvailable, OSError, subprocess.TimeoutExpired):
        return "not installed"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0][:80] if lines else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("model name")[2].partition(":")[2].splitlines() if info.exists() else []
    return lines[0].strip() if lines else platform.processor() or platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB"
