"""The pages about the design against the code: limits are the constants' values, paths and links lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest

from tests.harness.server import ROOT

LIMITS = re.findall(
    r"^\| ([^|]+) \| ([\d,.]+) \| [^|]* \| `([\w.]+)\.(\w+)` \|$",
    (ROOT / "docs/limits.md").read_text("utf-8"),
    re.MULTILINE,
)
PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    ROOT / "tests/kubernetes/README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("docs/*/*.md")),
]
ARCHITECTURE_LINES = 150
ABSENT = {
    # Examples of files that somebody may add.
    "server/adapters/etcd/",
    "tests/harness/etcd.py",
    "server/bootstrap/stores/etcd.py",
    # Installed by make.
    "clients/js-demo/node_modules",
}
"""Paths that a page may name although a fresh clone does not have them."""


@pytest.mark.parametrize(("what", "limit", "module", "name"), LIMITS, ids=lambda value: value)
def test_a_limit_is_its_constant(what: str, limit: str, module: str, name: str) -> None:
    """The number in the table is the number in the code."""
    value = getattr(importlib.import_module(f"server.{module}"), name)
    assert limit == (f"{value:,.0f}" if value == int(value) else f"{value}"), what


def test_the_limits_are_many() -> None:
    """The table is read at all: nearly every row names a constant."""
    assert len(LIMITS) >= 60


def page_name(page: Path) -> str:
    """The page's path, for the test's id."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    """Files and folders of this repository, named from its root."""
    named = set(re.findall(r"`((?:server|tests|docs|clients|bench|stubs|charts)/[\w./-]+)`", page.read_text("utf-8")))
    assert [path for path in sorted(named - ABSENT) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Links to other pages, from the folder of the page."""
    linked = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [path for path in linked if not (page.parent / path).exists()] == []


def test_modules_are_as_short_as_the_rule_says() -> None:
    """The server's and the bench's. A longer one has parts with names of their own."""
    (limit,) = re.findall(r"a module has \d+ to (\d+) lines", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    sizes = {
        str(module.relative_to(ROOT)): len(module.read_text("utf-8").splitlines())
        for folder in ("server", "bench")
        for module in (ROOT / folder).rglob("*.py")
    }
    assert len(sizes) > 200
    assert {name: size for name, size in sizes.items() if size > int(limit)} == {}


def test_the_page_of_the_house_is_short() -> None:
    """It is read before every change."""
    assert len((ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines()) <= ARCHITECTURE_LINES


def test_every_decision_is_in_the_index() -> None:
    """With its title and its status, as the decision's own page says them."""
    index = (ROOT / "docs/adr/README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs/adr").glob("0*.md")):
        number, title, status = re.findall(r"\A# (\d{4}): (.+)\n\nStatus: (.+)\n", page.read_text("utf-8"))[0]
        assert f"| [{number}]({page.name}) | {title} | {status} |" in index
