"""docs/vendors.md against the code: every use of a library's internals has a row, and every row has a use."""

import ast
import configparser
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import server
from tests.harness.server import ROOT

VENDORS = {
    "aiohttp",
    "dotenv",
    "engineio",
    "nats",
    "prometheus_client",
    "pydantic",
    "pydantic_core",
    "redis",
    "socketio",
}
DOCUMENTED = {
    "aiohttp",
    "dotenv",
    "engineio",
    "nats",
    "nats.aio.client",
    "nats.aio.msg",
    "nats.errors",
    "nats.js",
    "nats.js.api",
    "nats.js.errors",
    "prometheus_client",
    "prometheus_client.core",
    "prometheus_client.registry",
    "pydantic",
    "pydantic.json_schema",
    "pydantic_core",
    "redis",
    "redis.asyncio",
    "redis.asyncio.retry",
    "redis.asyncio.sentinel",
    "redis.backoff",
    "redis.exceptions",
    "socketio",
}
"""Modules that their libraries document; a private name in them is internal all the same."""

WATCHED = {
    "__pydantic_validator__",
    "connection_kwargs",
    "connection_lost",
    "make_connection",
    "read_response",
    "send_command",
}
"""Public names that their libraries do not document; a call of one is a use."""

KNOWN = {"_replace", "_exit", "_current_frames"}
"""Names with an underscore that the standard library documents."""

Use = tuple[str, str]
"""A file, and the name in it that a library does not promise."""


def is_private(name: str) -> bool:
    """Say whether a library marks the name as its own."""
    return name.startswith("_") and not name.endswith("__")


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield every file of the server, by its path from server/."""
    for path in sorted((ROOT / "server").rglob("*.py")):
        yield str(path.relative_to(ROOT / "server")), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that are private or not documented, and the names imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in VENDORS and alias.name not in DOCUMENTED:
                    yield alias.name.rpartition(".")[2]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in VENDORS:
            for alias in node.names:
                if node.module not in DOCUMENTED or is_private(alias.name):
                    yield alias.name


def touched(tree: ast.Module) -> Iterator[str]:
    """Yield the private and the watched attributes of objects that are not of the class at hand."""
    own = {
        target.attr
        for node in ast.walk(tree)
        for target in ast.walk(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id in {"self", "cls"}
    }
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else ""
        if name in WATCHED or (is_private(name) and name not in own | KNOWN):
            yield name


def overridden() -> Iterator[Use]:
    """Yield the methods of libraries' classes that a class of the server overrides."""
    for module in pkgutil.walk_packages(server.__path__, "server."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if kind.__module__ != module.name:
                continue
            bases = [
                base
                for base in kind.__mro__[1:]
                if base.__module__.partition(".")[0] in VENDORS - {"pydantic", "prometheus_client"}
            ]
            for name, value in vars(kind).items():
                method = callable(value) or isinstance(value, staticmethod | property)
                if method and not name.startswith("__") and any(name in vars(base) for base in bases):
                    file = Path(str(inspect.getsourcefile(kind)))
                    yield str(file.relative_to(ROOT / "server")), name


def uses() -> set[Use]:
    """Return every use of internals in the server."""
    found = set(overridden())
    for file, tree in sources():
        found |= {(file, name) for name in (*imported(tree), *touched(tree))}
    return found


def rows() -> Iterator[list[str]]:
    """Yield the cells of each row: file, names, library, pin, use, fragile, guarded by."""
    page = (ROOT / "docs/vendors.md").read_text("utf-8")
    for row in re.findall(r"^\| (`.+) \|$", page, re.MULTILINE):
        yield row.split(" | ")


def listed() -> set[Use]:
    """Return the uses that the page lists."""
    return {(file.strip("`"), name) for file, names, *_ in rows() for name in re.findall(r"`(\w+)`", names)}


def pins() -> dict[str, str]:
    """Return how setup.cfg pins each library: to a single version, or to a range."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    texts = (*setup["options.extras_require"].values(), setup["options"]["install_requires"])  # the latter decides
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    return {re.split(r"[^\w-]", line)[0]: "exact" if "==" in line.partition(";")[0] else "range" for line in lines}


def test_every_use_has_a_row_and_every_row_a_use() -> None:
    """A use that is added or removed changes the page in the same commit."""
    assert uses() - listed() == set()
    assert listed() - uses() == set()


def test_the_page_has_the_pins_of_the_libraries() -> None:
    """A use that is highly fragile allows a single version."""
    known = {name.replace("_", "-"): pin for name, pin in pins().items()}
    for file, names, library, pin, _, fragile, _ in rows():
        assert pin == known[library.replace("_", "-")], f"{file}: {names}"
        assert fragile != "high" or pin == "exact", f"{file}: {names}"
