"""A long run: `python -m tests.jepsen --minutes 30 [--seed N] [--folder PATH] [--stage NAME ...]`.

It is a row of rounds of about a minute each, every round with new servers, over the stages in turn. A seed repeats the
schedule: what is done when, though not what the machine makes of it.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.jepsen.checker import Verdict
from tests.jepsen.run import Plan, run
from tests.jepsen.stage import STAGES

ROUND_S = 45.0
"""Of work; the peace and the audit come on top."""


def main() -> int:
    """Run, print the table; return 1 if a promise was broken."""
    options = _options()
    sys.stdout.write(f"seed {options.seed}, {options.minutes} minutes, into {options.folder}\n")
    until = time.monotonic() + 60 * options.minutes
    figures, faults, broken, rounds = Counter[str](), Counter[str](), Counter[str](), 0
    while time.monotonic() < until:
        stage = options.stage[rounds % len(options.stage)]
        folder = options.folder / f"{rounds:03}-{stage}"
        verdict = asyncio.run(run(Plan(stage, ROUND_S, options.seed + rounds, options.fault), folder))
        _keep(verdict, folder)
        figures, faults = figures + verdict.figures, faults + verdict.faults
        broken.update(violation.kind for violation in verdict.violations)
        rounds += 1
        sys.stdout.write(f"{folder.name}: {dict(verdict.figures)}; violations {_kinds(verdict)}\n")
        sys.stdout.flush()
    sys.stdout.write(table(rounds, figures, faults, broken))
    return 1 if broken else 0


def table(rounds: int, figures: Counter[str], faults: Counter[str], broken: Counter[str]) -> str:
    """Return the summary."""
    rows = [("rounds", rounds), *sorted(figures.items())]
    rows += [(f"fault: {name}", count) for name, count in sorted(faults.items())]
    rows += [(f"violation: {kind}", count) for kind, count in sorted(broken.items())] or [("violations", 0)]
    return "".join(f"{name:<28}{count:>10}\n" for name, count in rows)


def _kinds(verdict: Verdict) -> dict[str, int]:
    return dict(Counter(violation.kind for violation in verdict.violations))


def _keep(verdict: Verdict, folder: Path) -> None:
    whole = {
        "violations": [asdict(violation) for violation in verdict.violations],
        "figures": verdict.figures,
        "faults": verdict.faults,
    }
    (folder / "verdict.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--folder", type=Path, default=Path("build/jepsen") / time.strftime("%Y%m%d-%H%M%S"))
    parser.add_argument("--stage", action="append", choices=sorted(STAGES), default=None)
    parser.add_argument("--fault", action="append", default=None, help="only these faults")
    options = parser.parse_args()
    options.stage = options.stage or list(STAGES)
    options.folder = options.folder.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
