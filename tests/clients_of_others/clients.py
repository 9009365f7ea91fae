"""The clients of the matrix: their names, and the commands that start their puppets."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.harness.server import ROOT

HERE = Path(__file__).parent
BUILT = ROOT / "build/clients_of_others"

Command = tuple[str, ...]


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} not found: install it"
    return path


def _node(version: str) -> Callable[[], Command]:
    return lambda: (_program("node"), str(HERE / "js/node.js"), version)


def _python(module: str) -> Callable[[], Command]:
    return lambda: (sys.executable, str(HERE / "python" / f"{module}.py"))


def _java(okhttp: str) -> Callable[[], Command]:
    path = f"{BUILT}/java/classes:{BUILT}/java/okhttp-{okhttp}/*"
    return lambda: (_program("java"), "-XX:TieredStopAtLevel=1", "-cp", path, "Puppet")


CHROMIUM = "JS 4.8 Chromium"
"""A page, not a program."""

SIMPLE, RUST, GO, JAVA3, JAVA4 = "Py Simple", "Rust", "Go", "Java OkHttp 3.12", "Java OkHttp 4.12"
PY_ASYNC, PY_SYNC = "Py async", "Py sync"
JS31, JS40, JS48 = "JS 3.1", "JS 4.0", "JS 4.8"

INSTALLED: Mapping[str, Callable[[], Command]] = {
    JS31: _node("3.1"),
    JS40: _node("4.0"),
    JS48: _node("4.8"),
    CHROMIUM: lambda: (),
    PY_ASYNC: _python("asynchronous"),
    PY_SYNC: _python("synchronous"),
    SIMPLE: _python("simple"),
}
"""What `make test` has: npm and pip bring them."""

COMPILED: Mapping[str, Callable[[], Command]] = {
    JAVA3: _java("3.12.12"),
    JAVA4: _java("4.12.0"),
    RUST: lambda: (str(BUILT / "rust/debug/puppet"),),
    GO: lambda: (str(BUILT / "go/puppet"),),
}
"""What `make clients-test` builds."""
