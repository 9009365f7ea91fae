"""Everything in which Maru spends more CPU than a peer: pure."""

from bench.report.layouts import LAYOUTS
from bench.report.summary import Key, Summary
from bench.report.tables import Layout, Table, named, spread_text
from bench.stats import Spread

HEAD = ("", "case", "its CPU, of Maru's")
NOT_PEERS = frozenset(("bare", "pyfloor"))
"""These do none of the work."""

METRICS = ("cpu_us", "joined_cpu_ms")


def behind(summary: Summary) -> Table:
    """Return a line for each such peer and case, the widest gap first."""
    found: list[tuple[float, tuple[str, ...]]] = []
    for layout in {layout.case: layout for layout in reversed(LAYOUTS)}.values():  # the first of each case
        for key in summary.keys(layout.case):
            ratio = _ratio(summary, layout, key)
            if ratio is not None and ratio.median < 1.0:
                params = named(key, (*layout.split, *layout.lines))
                case = f"{layout.title}: {params}" if params else layout.title
                found.append((ratio.median, (key.peer, case, spread_text(ratio, ".2f"))))
    return Table("Where Maru is behind", HEAD, tuple(line for _, line in sorted(found)))


def _ratio(summary: Summary, layout: Layout, key: Key) -> Spread | None:
    ours = Key(key.case, layout.against(key.peer), key.params)
    if key.peer.startswith("maru") or key.peer in NOT_PEERS:
        return None
    return next((found for metric in METRICS if (found := summary.ratio(key, ours, metric)) is not None), None)
