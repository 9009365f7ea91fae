"""Nothing acked is lost, doubled, reordered or invented, and nobody is left untold, while everything fails in turn."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jepsen.nemesis import DECKS
from tests.jepsen.run import Plan, run

SEED = 4
"""Repeats what is done and when. `make jepsen` draws others."""

SECONDS = {"sqlite": 20.0, "redis": 25.0}

HELD = {
    "sqlite": DECKS["sqlite"],
    # The layout in Redis does not answer the other three faults yet.
    "redis": [name for name in DECKS["redis"] if name not in {"evict", "older backup", "step clock"}],
}
"""The faults of each stage through which every promise holds."""


@pytest.mark.parametrize("stage", SECONDS)
async def test_promises_hold_through_faults(stage: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Authors, readers and pagers on several replicas; the history is in the test's folder."""
    verdict = await run(Plan(stage, SECONDS[stage], SEED, HELD[stage]), tmp_path / "run")
    faults = ", ".join(f"{name} ({count})" for name, count in sorted(verdict.faults.items()))
    figures = ", ".join(f"{count} {name}" for name, count in sorted(verdict.figures.items()))
    figure(f"seed {SEED}: {figures}; {faults}")
    found = "\n".join(f"{each.kind} in {each.channel}: {each.story} {each.records}" for each in verdict.violations[:20])
    assert verdict.violations == [], f"{len(verdict.violations)} violations, see {tmp_path}/run/history.jsonl:\n{found}"
    assert verdict.figures["acked"] > 0
