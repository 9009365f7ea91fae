"""What `quick` and `all` measure, and how a run is shown."""

from collections.abc import Callable, Mapping

from bench.cases import crowd, fanout, sends
from bench.report.layouts import LAYOUTS
from bench.report.summary import Summary
from bench.report.tables import tables
from bench.runs import Run


def quick(run: Run) -> None:
    """A first look: the figures that change first when something breaks."""
    work = fanout.Work(members=1_000, in_flight=(1, 32), rounds=2, seconds=0.5, warm_s=0.2)
    fanout.fanout(run, ("maru", "stock", "node", "bare"), work)
    crowd.crowd(run, ("maru", "node"), crowd.Work(clients=2_000, rounds=1))
    sends.sends(run, ("maru-sqlite",), sends.Work(clients=(64,), rounds=1, seconds=1.0))


PLANS: Mapping[str, Callable[[Run], None]] = {"quick": quick}


def show(run: Run) -> None:
    """Print every table, and what could not be measured."""
    summary = Summary(run.rows)
    for layout in LAYOUTS:
        for table in tables(summary, layout):
            print(f"\n{table.text()}")
    for key, problem in summary.problems.items():
        print(f"\nnot available: {key.case} {key.peer}: {problem}")
