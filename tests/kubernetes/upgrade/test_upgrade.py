"""`helm upgrade` while clients talk: the real engine, real servers, the real nginx, clients that notice nothing."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import helm_python as helm
import pytest

from tests.clients.crowd import Part
from tests.kubernetes.api.kinds import Json
from tests.kubernetes.upgrade.stage import VALUES, Stage, observe
from tests.kubernetes.upgrade.verdict import Verdict, judge

Figure = Callable[[object], None]

THOUSAND = (Part("core", 150, 100), Part("bare", 100, 40), Part("bot", 30, 20), Part("socket", 720, 140))
"""1,000 clients that send 300 messages a second, 10,000 deliveries. An event costs a bot 250 us of CPU, our JavaScript
core and a bare client 90, and the light client 26: two cores carry these numbers together with the servers."""

FEWER = (Part("core", 80, 40), Part("bare", 60, 20), Part("bot", 20, 10), Part("socket", 80, 40))

FEW = (Part("core", 60, 20), Part("bare", 60, 10), Part("socket", 80, 20))
"""Enough to find faults."""

NEXT: Json = VALUES | {"image": {"tag": "next"}}

BROKEN: Json = VALUES | {"redis": {"url": "redis://127.0.0.1:1"}, "progressDeadlineSeconds": 5}
"""A version that serves, and never becomes ready: its Redis URL leads nowhere."""

UPGRADE_S = 60

pytestmark = pytest.mark.timeout(150)  # rolling updates in real time


def show(figure: Figure, verdict: Verdict, **more: object) -> None:
    """Print the figures."""
    figure(", ".join(f"{name}: {value}" for name, value in (dict(verdict.figures) | more).items()))


@pytest.mark.alone
async def test_an_upgrade_and_a_rollback_go_unnoticed(tmp_path: Path, figure: Figure) -> None:
    """1,000 clients of four kinds and 300 messages a second: nothing is lost, repeated or out of order, no client waits
    long, reconnects are paced, and no handshake goes to a replica that stops."""
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


@pytest.mark.alone
async def test_a_replica_killed_in_the_middle_of_an_upgrade_costs_nothing(tmp_path: Path, figure: Figure) -> None:
    """While an old replica drains, the other old replica gets SIGKILL: acked messages are kept, all clients resume, and
    the upgrade succeeds."""
    stage = Stage(tmp_path, VALUES)
    killed: set[str] = set()

    async def deed() -> None:
        (before,) = {pod.template for pod in stage.cluster.pods}
        upgrade = asyncio.create_task(stage.releases.upgrade(NEXT, UPGRADE_S))
        await stage.cluster.until(lambda: any(pod.deleted_at for pod in stage.cluster.pods), UPGRADE_S)
        victim = next(pod for pod in stage.cluster.serving if pod.template == before)
        killed.add(victim.name)
        await stage.cluster.process(victim).kill()
        await upgrade
        await stage.cluster.settled(UPGRADE_S)

    observed = await observe(stage, FEWER, deed, lambda: killed)
    verdict = judge(observed)
    show(figure, verdict)
    assert verdict.faults == []
    assert [stop.code for stop in observed.stops if stop.told_at is None] == [-9]


@pytest.mark.alone
async def test_a_version_that_never_becomes_ready_harms_nobody(tmp_path: Path, figure: Figure) -> None:
    """Helm says that the upgrade failed; the old replicas go on serving, and no client has to reconnect, neither then
    nor at the rollback."""
    stage = Stage(tmp_path, VALUES)

    async def deed() -> None:
        before = list(stage.cluster.pods)
        stage.cluster.watch()
        with pytest.raises(helm.HelmReleaseError, match="Progress deadline exceeded"):
            await stage.releases.upgrade(BROKEN, UPGRADE_S)
        assert len(stage.cluster.pods) == 3
        await stage.releases.rollback(1, UPGRADE_S)
        await stage.cluster.settled(UPGRADE_S)
        assert stage.cluster.pods == before
        assert stage.cluster.fewest_serving == 2
        assert await stage.releases.history() == ["superseded", "failed", "deployed"]

    observed = await observe(stage, FEWER, deed)
    verdict = judge(observed)
    show(figure, verdict)
    assert verdict.faults == []
    assert [len(member.attempts) for member in observed.members] == [1] * len(observed.members)


async def test_a_grace_shorter_than_the_drain_is_found(tmp_path: Path, figure: Figure) -> None:
    """Five seconds to SIGKILL, for 3 s of preStop and 10 s of drain: the chart refuses such numbers, and if they are
    applied all the same, the verdict names the killed pods."""

    def tamper(deployment: Json) -> None:
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5

    stage = Stage(tmp_path, VALUES, tamper=tamper)

    async def deed() -> None:
        await stage.releases.upgrade(NEXT, UPGRADE_S)
        await stage.cluster.settled(UPGRADE_S)

    verdict = judge(await observe(stage, FEW, deed))
    show(figure, verdict, faults=verdict.faults)
    assert any("was killed at the end of its grace" in fault for fault in verdict.faults)


async def test_a_stop_before_the_routers_know_is_found(tmp_path: Path, figure: Figure) -> None:
    """No preStop, and routers that take 4 s: handshakes go to a replica that stops, and the verdict says so."""
    drain = {"preStopSleepSeconds": 0, "timeoutSeconds": 10, "marginSeconds": 4}
    stage = Stage(tmp_path, VALUES | {"drain": drain}, endpoints_delay_s=4.0)

    async def deed() -> None:
        await stage.releases.upgrade(NEXT | {"drain": drain}, UPGRADE_S)
        await stage.cluster.settled(UPGRADE_S)

    verdict = judge(await observe(stage, FEW, deed))
    show(figure, verdict, faults=verdict.faults)
    assert any("handshakes were sent to replicas" in fault for fault in verdict.faults)
