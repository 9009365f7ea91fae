"""Finds, builds and configures the programs of other projects; each may be missing."""

import os
import shutil
import string
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.processes import NotAvailable

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "build" / "bench"
"""What is compiled once and kept; `make clean` removes it."""


def variable(name: str) -> str:
    """Return the environment variable that names a program: MARU_BENCH_NATS_SERVER for `nats-server`."""
    return f"MARU_BENCH_{name.upper().replace('-', '_')}"


def found(command: str) -> str:
    """Return a program's path: from its variable, else from PATH or the usual places. Raises `NotAvailable`."""
    if named := os.environ.get(variable(command)):
        if not os.access(named, os.X_OK):
            raise NotAvailable(f"{variable(command)} names no program: {named}")
        return named
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NotAvailable(f"{command} is not installed; {variable(command)} may name it")
    return path


def run(command: list[str], timeout_s: float, env: Mapping[str, str] | None = None) -> None:
    """Run a program to its end. Raises `NotAvailable` with the end of what it said."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s, env=env)
    except subprocess.CalledProcessError as error:
        raise NotAvailable(f"{command[0]}: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"{command[0]}: not done after {timeout_s:.0f} s") from error


def fill(template: str, target: Path, **values: object) -> Path:
    """Write a configuration from a template beside this file."""
    target.write_text(string.Template((HERE / template).read_text()).substitute(values))
    return target
