"""`helm upgrade` while people chat: the real engine, real servers, the real nginx, and a crowd that must not notice."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.fake_api.kinds import Json
from tests.chart.upgrade.stage import VALUES, Stage, observe
from tests.chart.upgrade.verdict import Verdict, judge
from tests.harness.mixed_crowd import Part

Figure = Callable[[object], None]

THOUSAND = (Part("core", 300, 100), Part("bare", 250, 40), Part("bot", 50, 20), Part("socket", 400, 140))
"""1,000 clients who send 300 messages a second."""

FEWER = (Part("core", 80, 40), Part("bare", 60, 20), Part("bot", 20, 10), Part("socket", 80, 40))

UPGRADE_S = 60

NEXT: Json = VALUES | {"image": {"tag": "next"}}


def show(figure: Figure, verdict: Verdict, **more: object) -> None:
    """Print the figures."""
    figure(", ".join(f"{name}: {value}" for name, value in (dict(verdict.figures) | more).items()))


@pytest.mark.timeout(150)  # two rolling updates, with every number of theirs in seconds
async def test_an_upgrade_and_a_rollback_go_unnoticed(tmp_path: Path, figure: Figure) -> None:
    """1,000 clients of four kinds and 300 messages a second: nothing is lost, doubled or out of order, nobody waits
    long, nobody storms, and no handshake goes to a replica that stops."""
    stage = Stage(tmp_path, VALUES)
    seconds: list[float] = []

    async def deed() -> None:
        began = time.monotonic()
        await stage.releases.upgrade(NEXT, UPGRADE_S)
        await stage.cluster.settled(UPGRADE_S)
        seconds.append(round(time.monotonic() - began, 1))
        await stage.releases.rollback(1, UPGRADE_S)
        await stage.cluster.settled(UPGRADE_S)
        seconds.append(round(time.monotonic() - began - seconds[0], 1))
        assert await stage.releases.history() == ["superseded", "superseded", "deployed"]

    observed = await observe(stage, THOUSAND, deed)
    verdict = judge(observed)
    show(figure, verdict, **{"upgrade and rollback, s": seconds})
    assert verdict.faults == []
    assert len(observed.stops) == 4
