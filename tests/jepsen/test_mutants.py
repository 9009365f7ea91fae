"""A bug that is put in on purpose is found, and called by its name."""

from pathlib import Path

import pytest

from tests.jepsen.run import Plan, run

SEED = 11


@pytest.mark.parametrize(
    ("name", "stage", "faults", "kind"),
    [
        ("drops_an_event", "sqlite", (), "hole"),
        ("swaps_two_events", "sqlite", (), "reordered"),
        ("acks_without_writing", "sqlite", (), "lost"),
        ("ignores_keys", "sqlite", (), "doubled"),
        ("ignores_keys_in_redis", "redis", ("evict",), "doubled"),
        ("recovers_always", "redis", ("older backup",), "rewritten"),
        ("forgets_reactions", "sqlite", (), "reactions"),
        ("forgets_marks", "sqlite", (), "marks"),
        ("publishes_elsewhere", "sqlite", (), "lost"),
    ],
)
async def test_a_bug_is_found(name: str, stage: str, faults: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    """Within seconds."""
    plan = Plan(stage, 4.0, SEED, faults, peace_s=2.0, vanishes=0.2, program=("-m", "tests.jepsen.mutants", name))
    verdict = await run(plan, tmp_path / "run")
    assert kind in verdict.kinds(), verdict
