"""Tables of the layers of a send and of a handshake: a column for each Maru that was measured; pure."""

from bench.cases import layers
from bench.report.summary import Key, Summary
from bench.report.tables import Table

KINDS = {"send": "A `message:send`, 256 clients", "handshake": "A handshake with token and join, 64 at once"}
ALL = "us"
COUNTS = {"calls": "calls in Python", "c_calls": "calls in C", "turns": "turns of the loop, alone"}


def layer_tables(summary: Summary) -> list[Table]:
    """Return a table for each kind of work that was profiled: microseconds of CPU, then counts."""
    return [_table(summary, of, title) for of, title in KINDS.items() if _keys(summary, of)]


def _keys(summary: Summary, of: str) -> list[Key]:
    return [key for key in summary.keys(layers.CASE) if dict(key.params)["of"] == of]


def _table(summary: Summary, of: str, title: str) -> Table:
    columns = [_medians(summary, key) for key in _keys(summary, of)]
    names = {name for column in columns for name in column if name != ALL and name not in COUNTS}
    parts = sorted(names, key=lambda name: -max(column.get(name, 0.0) for column in columns))
    lines = [("all, us", *(_cell(column, ALL) for column in columns))]
    lines += [(name, *(_cell(column, name) for column in columns)) for name in parts]
    lines += [(text, *(_cell(column, name) for column in columns)) for name, text in COUNTS.items()]
    return Table(title, ("", *(key.peer for key in _keys(summary, of))), tuple(lines))


def _medians(summary: Summary, key: Key) -> dict[str, float]:
    return {name: found.median for name, _ in summary.named(key) if (found := summary.spread(key, name)) is not None}


def _cell(column: dict[str, float], name: str) -> str:
    return f"{column[name]:.1f}" if name in column else "-"
