"""ARCHITECTURE.md against the code: its files exist, its bounds are those of the constants that it names."""

import importlib
import re

import pytest

from tests.harness.server import ROOT

DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
BOUNDS = re.findall(r"^\| ([^|]+) \| ([\d,.]+) \| [^|]* \| `([\w.]+)\.(\w+)` \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize(("what", "limit", "module", "name"), BOUNDS, ids=lambda value: value)
def test_a_bound_is_its_constant(what: str, limit: str, module: str, name: str) -> None:
    """The number in the table is the one that holds."""
    value = getattr(importlib.import_module(f"server.{module}"), name)
    assert limit == (f"{value:,.0f}" if value == int(value) else f"{value}"), what


def test_the_bounds_are_many() -> None:
    """The table is read at all: nearly every row names a constant."""
    assert len(BOUNDS) >= 30


def test_the_files_exist() -> None:
    """Every path that is named is there."""
    named = set(re.findall(r"`((?:server|tests)/[\w./]+)`", DOCUMENT)) - {"server/adapters/postgres/message_log.py"}
    assert len(named) >= 40
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_decisions_are_linked_by_their_names() -> None:
    """Each decision record that is linked exists."""
    linked = re.findall(r"\]\((docs/adr/[^)]+\.md)\)", DOCUMENT)
    assert linked
    assert all((ROOT / path).is_file() for path in linked)
