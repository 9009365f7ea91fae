"""A chart that is wrong is found: the verdict of a scenario names the mistake."""

from pathlib import Path

import pytest

from tests.clients.crowd import Part
from tests.conftest import Figure
from tests.kubernetes.plane.processes import ControlPlane
from tests.kubernetes.plane.stage import Stage, changed_chart, observe
from tests.kubernetes.plane.test_scenarios import BROKEN, NEXT, UPGRADE_S
from tests.kubernetes.upgrade.stage import VALUES
from tests.kubernetes.upgrade.verdict import judge

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone, pytest.mark.timeout(240)]

FEW = (Part("core", 40, 20), Part("bare", 40, 10), Part("socket", 60, 20))

DEPLOYMENT = "templates/deployment.yaml"


async def faults(stage: Stage, values: dict[str, object], figure: Figure) -> list[str]:
    """Upgrade while a few clients talk; return what the verdict finds."""

    async def deed() -> None:
        await stage.releases.upgrade(values, UPGRADE_S)
        await stage.settled()

    observed = await observe(stage, FEW, deed)
    fewest = stage.proxy.fewest_ready(observed.talked_at)
    found = list(judge(observed).faults)
    if fewest == 0:
        found.append("no endpoint was ready")
    figure(found)
    return found


async def test_an_unavailable_replica_of_one(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """A single replica that may be unavailable."""
    more = {"replicaCount": 1, "updateStrategy": {"maxSurge": 0, "maxUnavailable": 1}}
    found = await faults(Stage(plane, tmp_path, VALUES | more), NEXT | more, figure)
    assert "no endpoint was ready" in found


async def test_no_pre_stop(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """A replica that stops before the routers know."""
    more = {"drain": {"preStopSleepSeconds": 0, "timeoutSeconds": 10, "marginSeconds": 4}}
    stage = Stage(plane, tmp_path, VALUES | more, delay_s=4.0)
    found = await faults(stage, NEXT | more, figure)
    assert any("handshakes were sent to replicas that did not take them" in fault for fault in found)


async def test_a_grace_that_is_too_short(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Five seconds to SIGKILL, for 3 s of preStop and 10 s of drain."""
    given = "terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}"
    chart = changed_chart(tmp_path, DEPLOYMENT, given, "terminationGracePeriodSeconds: 5")
    found = await faults(Stage(plane, tmp_path, chart=chart), NEXT, figure)
    assert any("was killed at the end of its grace" in fault for fault in found)


async def test_a_readiness_that_lies(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Replicas that say that they are ready as soon as they live: a version that can't reach Redis replaces the good
    one, and Helm says that all is well."""
    chart = changed_chart(tmp_path, DEPLOYMENT, "path: /readyz", "path: /livez")
    stage = Stage(plane, tmp_path, chart=chart)

    async def deed() -> None:
        await stage.releases.upgrade(BROKEN, UPGRADE_S)
        await stage.settled()
        await stage.releases.rollback(1, UPGRADE_S)
        await stage.settled()

    observed = await observe(stage, FEW, deed)
    found = list(judge(observed).faults)
    figure(found)
    assert any("heard nothing for" in fault for fault in found)
