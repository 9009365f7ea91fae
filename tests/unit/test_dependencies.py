"""The packages that the server imports are the packages that setup.cfg declares."""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]

ENGINES = ("postgres", "kafka", "nats")
"""Extras of setup.cfg with the packages of other engines."""


def imported(source: str) -> Iterator[str]:
    """The top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module.partition(".")[0]


def distribution(text: str) -> str:
    """The name that a requirement, or a package's metadata, begins with, as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", text)[0]).lower()


def declared(lines: str) -> set[str]:
    """The distributions that these lines of setup.cfg require."""
    return {distribution(line) for line in lines.splitlines() if line and not line.startswith("#")}


def test_every_import_is_declared() -> None:
    """A package that only comes with another one would be gone with the other's next release. The packages of engines
    are declared before they are used."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    always = declared(setup["options"]["install_requires"])
    engines = declared("\n".join(setup["options.extras_require"][each] for each in ENGINES))
    names = {name for path in (ROOT / "server").rglob("*.py") for name in imported(path.read_text("utf-8"))}
    installed = packages_distributions()
    used = {distribution(installed[name][0]) for name in names - set(sys.stdlib_module_names) - {"server"}}
    assert used - engines == always
    assert used <= always | engines
