"""docs/operations.md against the code: the table of log lines has a row for every event, and no other."""

import ast
import re
from collections.abc import Iterator

from tests.harness.server import ROOT

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
"""The methods of a logger that write a line; their first argument is the event."""

EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)?")


def events(tree: ast.Module) -> Iterator[str]:
    """Yield the events that a module logs. An event may be a choice between two."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and node.args
        ):
            for part in ast.walk(node.args[0]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and EVENT.fullmatch(part.value):
                    yield part.value


def logged() -> set[str]:
    """Return the events of the whole server. server/logs writes two lines without a logger."""
    paths = (ROOT / "server").rglob("*.py")
    return {"command", "log.dropped"} | {
        event for path in paths for event in events(ast.parse(path.read_text("utf-8")))
    }


def rows() -> set[str]:
    """Return the events in the first column of the table."""
    table = (ROOT / "docs/operations.md").read_text("utf-8").partition("## Log lines")[2]
    return {
        event
        for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for event in re.findall(r"`([\w.]+)`", cell)
    }


def test_every_log_line_has_a_row_and_every_row_a_line() -> None:
    """An operator finds each event that a log can hold."""
    assert logged() - rows() == set()
    assert rows() - logged() == set()
