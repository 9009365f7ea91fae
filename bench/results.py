"""The results of a run: lines of JSON, tables on the terminal, a page with charts."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from bench.machine import describe
from bench.report.goals import judged
from bench.report.layer_tables import layer_tables
from bench.report.layouts import LAYOUTS
from bench.report.summary import Summary
from bench.report.tables import tables
from bench.runs import Row

About = dict[str, Any]
"""Of a run: `machine`, `date`, `command`, `seconds`."""


def about(command: str) -> About:
    """Return the description of a run that is about to begin."""
    return {"machine": describe(), "date": datetime.now(UTC).date().isoformat(), "command": command, "seconds": 0.0}


def note(out: TextIO, told: About) -> None:
    """Write the description of a run behind its rows."""
    out.write(json.dumps({"about": told}) + "\n")


def read(*paths: Path) -> tuple[About, list[Row]]:
    """Return the rows of files, and the description of the first one's run, with the seconds of all.

    If a file was cut short, the description is that of this machine.
    """
    told, rows = list[About](), list[Row]()
    for path in paths:
        for line in path.read_text().splitlines():
            found = json.loads(line)
            if "about" in found:
                told.append(found["about"])
            else:
                rows.append(Row(**found))
    first = told[0] if told else about("python -m bench")
    commands = dict.fromkeys(run["command"] for run in told or [first])
    return first | {"command": "; ".join(commands), "seconds": sum(run["seconds"] for run in told)}, rows


def show(rows: list[Row]) -> None:
    """Print every table, whether the goals were reached, and what could not be measured."""
    summary = Summary(rows)
    for layout in LAYOUTS:
        for table in tables(summary, layout):
            print(f"\n{table.text()}")
    for table in layer_tables(summary):
        print(f"\n{table.text()}")
    goals = judged(summary)
    if goals.lines:
        print(f"\n{goals.text()}")
    for text in dict.fromkeys(f"{key.case} {key.peer}: {problem}" for key, problem in summary.problems.items()):
        print(f"\nnot available: {text}")


def write_page(path: Path, told: About, rows: list[Row]) -> None:
    """Write the page, and its charts into a folder of the same name beside it."""
    from bench.report import charts, page  # noqa: PLC0415  # matplotlib is in an extra of its own

    summary = Summary(rows)
    drawn = charts.draw(summary, path.with_suffix(""))
    path.write_text(page.page(summary, told, drawn))
