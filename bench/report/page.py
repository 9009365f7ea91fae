"""docs/performance.md: the template's prose with the figures of a run put into it."""

import re
import string
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bench.cases import crowd, fanout, idle, profile, replicas, sends
from bench.peers.registry import MEANING
from bench.report.behind import behind
from bench.report.goals import judged
from bench.report.layer_tables import layer_tables
from bench.report.layouts import LAYOUTS
from bench.report.summary import Summary
from bench.report.tables import Table, spread_text, tables
from bench.stats import Spread, slope

TEMPLATE = Path(__file__).parent / "performance.md"

CASES = (
    *(fanout.CASE, fanout.SMALL, fanout.DIRECT, fanout.LATENCY, fanout.MEMBERS, fanout.SIZES, fanout.CHANNELS),
    *(crowd.CASE, crowd.HANDSHAKES, crowd.STORM, idle.CASE, sends.CASE, replicas.CASE, replicas.IDLE),
)

CHART = re.compile(r"!\[[^]]*\]\(performance/([a-z]+)\.png\)\n\n")

NOTHING = "Not measured in this run."
NOTHING_BEHIND = "Nowhere in this run."


def page(summary: Summary, about: Mapping[str, Any], charts: Collection[str]) -> str:
    """Return the page. `about` tells of the run: `machine`, `date`, `command`, `seconds`; `charts` have been drawn."""
    goals = judged(summary)
    lags = behind(summary)
    machine = Table("", ("", ""), tuple(about["machine"].items()))
    values = {
        "goals": _body(goals) if goals.lines else NOTHING,
        "behind": _body(lags) if lags.lines else NOTHING_BEHIND,
        "machine": _body(machine),
        "date": about["date"],
        "command": about["command"],
        "seconds": f"{about['seconds']:.0f}",
        "peers": "; ".join(f"`{name}`: {meaning}" for name, meaning in MEANING.items()),
        "load_one": _most_load(summary, {1}),
        "load_many": _most_load(summary, {32}),
        "share_one": _ratio(summary, "deliveries_s", percent=True),
        "cpu_one": _ratio(summary, "cpu_us", percent=False),
        "members_slope": _slopes(
            summary, fanout.MEMBERS, "members", "wave_us", ("{start:,.0f} µs and {rise:.1f} µs a member")
        ),
        "sizes_slope": _slopes(summary, fanout.SIZES, "size", "cpu_us", "{kib:.2f} µs a KiB and delivery"),
        "layers": "\n\n".join(table.markdown() for table in layer_tables(summary)) or NOTHING,
        "profile": _profiles(summary),
        "problems": _problems(summary),
    }
    cases = {case.replace("-", "_"): _tables(summary, case) for case in CASES}
    written = string.Template(TEMPLATE.read_text()).substitute(values | cases)
    return CHART.sub(lambda found: found[0] if found[1] in charts else "", written)


def _tables(summary: Summary, case: str) -> str:
    found = [table.markdown() for layout in LAYOUTS if layout.case == case for table in tables(summary, layout)]
    return "\n\n".join(found) or NOTHING


def _body(table: Table) -> str:
    """Return a table without its title: the page has its own."""
    return table.markdown().partition("\n\n")[2]


def _most_load(summary: Summary, depths: set[int]) -> str:
    shares = [
        value
        for key in summary.keys(fanout.CASE)
        if dict(key.params)["in_flight"] in depths
        for value in summary.values(key, "load_share")
    ]
    return f"{max(shares) * 100:.0f}" if shares else "(not measured)"


def _ratio(summary: Summary, metric: str, *, percent: bool) -> str:
    """Maru's figure as a ratio to the bare loop's, one message in flight."""
    ours = summary.find(fanout.CASE, "maru", members=1_000, in_flight=1)
    bare = summary.find(fanout.CASE, "bare", members=1_000, in_flight=1)
    found: Spread | None = summary.ratio(ours, bare, metric) if ours and bare else None
    if found is None:
        return "(not measured)"
    return spread_text(found, ".0f", 100) + " %" if percent else spread_text(found, ".2f")


def _slopes(summary: Summary, case: str, param: str, metric: str, text: str) -> str:
    """Return for each peer the straight line through its medians, in words."""
    said: list[str] = []
    for peer in dict.fromkeys(key.peer for key in summary.keys(case)):
        points = {
            float(dict(key.params)[param]): found.median
            for key in summary.keys(case)
            if key.peer == peer and (found := summary.spread(key, metric)) is not None
        }
        if len(points) > 1:
            rise, start = slope(list(points), list(points.values()))
            said.append(f"at {peer} {text.format(start=max(start, 0.0), rise=rise, kib=rise * 1_024)}")
    return "; ".join(said) or "(not measured)"


def _profiles(summary: Summary) -> str:
    """Return a table for each profile: shares of all samples."""
    words = {"python": "by Python function (cProfile)", "native": "by native symbol and library (perf)"}
    parts: list[str] = []
    for key in summary.keys(profile.CASE):
        params = dict(key.params)
        table = Table(
            f"{params['in_flight']} in flight, {words[params['kind']]}",
            ("", "share, %"),
            tuple((f"`{name}`", f"{share * 100:.1f}") for name, share in summary.named(key)),
        )
        parts.append(table.markdown())
    return "\n\n".join(parts) or NOTHING


def _problems(summary: Summary) -> str:
    lines = dict.fromkeys(f"- {key.case}, {key.peer}: {problem}" for key, problem in summary.problems.items())
    return "\n".join(lines) or "Everything that was asked for was measured."
