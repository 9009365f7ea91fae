"""Nothing acked is lost, doubled, reordered or invented, and nobody is left untold, while everything fails in turn."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jepsen.run import Plan, run

SEED = 255
"""Repeats what is done and when. With this seed the quick faults come first, so that a slow machine meets most of them.
`make jepsen` draws others."""

SECONDS = {"sqlite": 20.0, "redis": 25.0, "postgres": 15.0}


@pytest.mark.parametrize("stage", SECONDS)
async def test_promises_hold_through_faults(stage: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Authors, readers and pagers on several replicas; the history is in the test's folder."""
    verdict = await run(Plan(stage, SECONDS[stage], SEED), tmp_path / "run")
    faults = ", ".join(f"{name} ({count})" for name, count in sorted(verdict.faults.items()))
    figures = ", ".join(f"{count} {name}" for name, count in sorted(verdict.figures.items()))
    figure(f"seed {SEED}: {figures}; {faults}")
    found = "\n".join(f"{each.kind} in {each.channel}: {each.story} {each.records}" for each in verdict.violations[:20])
    assert verdict.violations == [], f"{len(verdict.violations)} violations, see {tmp_path}/run/history.jsonl:\n{found}"
    assert verdict.figures["acked"] > 0
