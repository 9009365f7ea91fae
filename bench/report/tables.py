"""Tables of what was measured, for the terminal and for Markdown; ratios stand first: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.report.summary import Key, Summary
from bench.stats import Spread


@dataclass(frozen=True, slots=True)
class Column:
    """One figure. As a ratio it is Maru's to the row's peer; `inverse` where less is better, so that more than 1 is
    always in favour of Maru."""

    head: str
    metric: str
    form: str = ",.0f"
    ratio: bool = False
    inverse: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How a case is shown: one table for each value of the `split` parameters, one line for each peer and `lines`."""

    case: str
    title: str
    columns: tuple[Column, ...]
    split: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    baseline: str = "maru"
    rivals: Mapping[str, str] = field(default_factory=dict)
    """The Maru that a peer is compared with, if it is not the baseline."""

    def against(self, peer: str) -> str:
        """Return the peer that a line's ratios are taken to."""
        return self.rivals.get(peer, self.baseline)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is the line's name."""

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """For a terminal."""
        rows = (self.heads, *self.lines)
        widths = [max(len(row[at]) for row in rows) for at in range(len(self.heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join((self.title, lines[0], "  ".join("-" * width for width in widths), *lines[1:]))

    def markdown(self) -> str:
        """For a page."""
        rule = "|" + "---|" + "---:|" * (len(self.heads) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (self.heads, *self.lines)]
        return "\n".join((f"**{self.title}**", "", lines[0], rule, *lines[1:]))


def tables(summary: Summary, layout: Layout) -> list[Table]:
    """Return the tables of a case; none if it was not measured."""
    groups: dict[str, list[Key]] = {}
    for key in summary.keys(layout.case):
        groups.setdefault(named(key, layout.split), []).append(key)
    return [
        Table(
            f"{layout.title}{': ' if name else ''}{name}",
            ("", *(column.head for column in layout.columns)),
            tuple(_line(summary, layout, key) for key in keys),
        )
        for name, keys in groups.items()
    ]


WORDS = {"size": "bytes", "depth": "under way each", "in_flight": "in flight", "at_once": "at once"}


def named(key: Key, names: Sequence[str]) -> str:
    """Some of its parameters, as people say them."""
    params = dict(key.params)
    return ", ".join(f"{params[name]} {WORDS.get(name, name)}" for name in names if name in params)


def _line(summary: Summary, layout: Layout, key: Key) -> tuple[str, ...]:
    label = ", ".join(part for part in (key.peer, named(key, layout.lines)) if part)
    return (label, *(_cell(summary, layout, key, column) for column in layout.columns))


def _cell(summary: Summary, layout: Layout, key: Key, column: Column) -> str:
    if not column.ratio:
        return spread_text(summary.spread(key, column.metric), column.form, column.scale)
    ours = Key(key.case, layout.against(key.peer), key.params)
    if key == ours:
        return "1"
    pair = (key, ours) if column.inverse else (ours, key)
    return spread_text(summary.ratio(*pair, column.metric), ".2f")


def spread_text(found: Spread | None, form: str, scale: float = 1.0) -> str:
    """The median, and in brackets the least and the most where there are several runs."""
    if found is None:
        return "-"
    median, least, most = (format(value * scale, form) for value in found[:3])
    return median if found.runs == 1 or least == most else f"{median} ({least}..{most})"
