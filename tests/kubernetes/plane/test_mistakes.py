"""A chart that is wrong is found: the verdict of a scenario names the mistake."""

from pathlib import Path

import pytest

from tests.clients.crowd import Part
from tests.conftest import Figure
from tests.kubernetes.api.kinds import Json
from tests.kubernetes.plane.processes import ControlPlane
from tests.kubernetes.plane.stage import Stage, changed_chart, faults, observe
from tests.kubernetes.plane.test_scenarios import BROKEN, NEXT, UPGRADE_S
from tests.kubernetes.upgrade.stage import VALUES

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone, pytest.mark.timeout(240)]

FEW = (Part("core", 40, 20), Part("bare", 40, 10), Part("socket", 60, 20))

DEPLOYMENT = "templates/deployment.yaml"


async def found(stage: Stage, values: Json, figure: Figure, *, back: bool = False) -> list[str]:
    """Upgrade while a few clients talk, and perhaps roll back; return what is wrong."""

    async def deed() -> None:
        await stage.releases.upgrade(values, UPGRADE_S)
        await stage.settled()
        if back:
            await stage.releases.rollback(1, UPGRADE_S)
            await stage.settled()

    wrong = faults(stage, await observe(stage, FEW, deed), floor=1)
    figure(wrong[-3:])
    return wrong


async def test_an_unavailable_replica_of_one(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """A single replica that may be unavailable."""
    more = {"replicaCount": 1, "updateStrategy": {"maxSurge": 0, "maxUnavailable": 1}}
    wrong = await found(Stage(plane, tmp_path, VALUES | more), NEXT | more, figure)
    assert any("0 endpoints were ready" in fault for fault in wrong)


async def test_no_pre_stop(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """A replica that stops before the routers know."""
    more = {"drain": {"preStopSleepSeconds": 0, "timeoutSeconds": 10, "marginSeconds": 4}}
    stage = Stage(plane, tmp_path, VALUES | more, delay_s=4.0)
    wrong = await found(stage, NEXT | more, figure)
    assert any("handshakes were sent to replicas that did not take them" in fault for fault in wrong)


async def test_a_grace_that_is_too_short(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Five seconds to SIGKILL, for 3 s of preStop and 10 s of drain."""
    given = "terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}"
    chart = changed_chart(tmp_path, DEPLOYMENT, given, "terminationGracePeriodSeconds: 5")
    wrong = await found(Stage(plane, tmp_path, chart=chart), NEXT, figure)
    assert any("was killed at the end of its grace" in fault for fault in wrong)


async def test_a_readiness_that_lies(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Replicas that say that they are ready as soon as they live: a version that can't reach Redis replaces the good
    one, and Helm says that all is well."""
    chart = changed_chart(tmp_path, DEPLOYMENT, "path: /readyz", "path: /livez")
    wrong = await found(Stage(plane, tmp_path, chart=chart), BROKEN, figure, back=True)
    assert any("got clients, and said that it is not ready" in fault for fault in wrong)
