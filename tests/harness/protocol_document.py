"""PROTOCOL.md as data: its sections, tables and examples."""

import re
from typing import Any

from tests.harness.server import ROOT

DOCUMENT = (ROOT / "PROTOCOL.md").read_text("utf-8")


def section(heading: str) -> str:
    """The text under a heading, up to the next heading of its level or above; fenced blocks are no headings."""
    found = re.search(rf"^(#+) `?{re.escape(heading)}`?\n(.*?)(?=^#{{1,3}} |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[2]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`, code alone without its back-quotes."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, first
    return [[unquoted(cell.strip()) for cell in row[2:-2].split(" | ")] for row in found[1].splitlines()]


def unquoted(cell: str) -> str:
    """A cell that is one piece of code, without its back-quotes; any other cell as it is."""
    return cell[1:-1] if re.fullmatch("`[^`]+`", cell) else cell


def examples(text: str, language: str = "json") -> list[str]:
    """The fenced blocks of a language."""
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [block for _, block in blocks]


def alike(documented: Any, real: Any) -> bool:
    """Whether two JSON values have the same fields and types; null may stand for a value, list items for each other."""
    if isinstance(documented, dict) and isinstance(real, dict):
        return documented.keys() == real.keys() and all(alike(documented[name], real[name]) for name in real)
    if isinstance(documented, list) and isinstance(real, list):
        return all(any(alike(item, other) for other in real) for item in documented)
    return documented is None or real is None or type(documented) is type(real)
