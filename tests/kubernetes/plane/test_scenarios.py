"""What happens to a deployment in its life, on a real control plane, while clients of all kinds talk all the time."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import helm_python as helm
import pytest

from tests.clients.crowd import Part
from tests.conftest import Figure
from tests.kubernetes.api.kinds import Json
from tests.kubernetes.plane.picture import draw
from tests.kubernetes.plane.processes import NODE_LOST_S, ControlPlane
from tests.kubernetes.plane.stage import Stage, faults, observe
from tests.kubernetes.upgrade.stage import VALUES
from tests.kubernetes.upgrade.verdict import Observed, judge

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone, pytest.mark.timeout(240)]

CLIENTS = (Part("core", 100, 100), Part("bare", 80, 40), Part("bot", 30, 20), Part("socket", 240, 140))
"""Clients of four kinds that send 300 messages a second in 20 channels."""

UPGRADE_S = 90

NEXT: Json = VALUES | {"image": {"tag": "next"}}

BROKEN: Json = VALUES | {"redis": {"url": "redis://127.0.0.1:1"}, "progressDeadlineSeconds": 5}
"""A version that serves, and never becomes ready: its Redis URL leads nowhere."""

EMBEDDED: Json = {name: value for name, value in VALUES.items() if name != "redis"} | {"replicaCount": 1}
"""A single replica with the embedded log in a volume."""

RECREATED_S = 25.0
"""The longest silence while a single replica is replaced: its drain, and the start of the next."""

LOST_S = 6.0 + 20.0 + NODE_LOST_S + 8.0
"""The longest silence after the loss of a node: a client notices by its heartbeats; if its next handshake goes to the
lost node, too, it waits for its own timeout, of 20 s, and comes back after a pause."""

HEARTBEATS: Json = {"config": {"pingInterval": "3s", "pingTimeout": "3s"}}
"""So that clients notice soon that a node is gone."""


def check(figure: Figure, stage: Stage, observed: Observed, floor: int = 0, **more: object) -> None:
    """Print the verdict, and hold the scenario to it. `floor` is the fewest ready endpoints that are allowed."""
    fewest = stage.proxy.fewest_ready(observed.talked_at)
    figures: Mapping[str, object] = {**judge(observed).figures, "fewest ready": fewest, **more}
    figure(", ".join(f"{name}: {value}" for name, value in figures.items()))
    assert faults(stage, observed, floor) == []


async def test_an_upgrade(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Install, then `helm upgrade` and `helm rollback` of two replicas: nobody notices."""
    stage = Stage(plane, tmp_path)
    seconds: list[float] = []

    async def deed() -> None:
        for change in (stage.releases.upgrade(NEXT, UPGRADE_S), stage.releases.rollback(1, UPGRADE_S)):
            began = time.monotonic()
            await change
            await stage.settled()
            seconds.append(round(time.monotonic() - began, 1))

    observed = await observe(stage, CLIENTS, deed)
    check(figure, stage, observed, floor=2, **{"upgrade and rollback, s": seconds})
    assert [stop.code for stop in observed.stops] == [0] * 4
    if picture := os.environ.get("CLUSTER_PICTURE"):
        draw(Path(picture), stage.timeline, observed.talked_at)


async def test_an_upgrade_while_a_pod_is_killed(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """While an old replica drains, another gets `kill -9`."""
    stage = Stage(plane, tmp_path, VALUES | {"replicaCount": 3})
    killed: set[str] = set()

    async def deed() -> None:
        before = set(stage.pods)
        upgrade = asyncio.create_task(stage.releases.upgrade(NEXT | {"replicaCount": 3}, UPGRADE_S))
        await stage.until(lambda: any(pod.deleted_at for pod in before))
        victim = next(pod for pod in stage.pods if pod in before and pod.serving)
        killed.add(victim.name)
        await stage.node_of(victim).kill(victim)
        await upgrade
        await stage.settled()

    observed = await observe(stage, CLIENTS, deed, killed=lambda: killed)
    check(figure, stage, observed, floor=2)
    assert [stop.code for stop in observed.stops if stop.told_at is None] == [-9]


async def test_a_version_that_never_becomes_ready(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Helm says that the upgrade failed; the old replicas go on, and the rollback disturbs nobody."""
    stage = Stage(plane, tmp_path)

    async def deed() -> None:
        before = set(stage.pods)
        with pytest.raises(helm.HelmReleaseError):
            await stage.releases.upgrade(BROKEN, UPGRADE_S)
        await stage.releases.rollback(1, UPGRADE_S)
        await stage.settled()
        assert set(stage.pods) == before
        assert await stage.releases.history() == ["superseded", "failed", "deployed"]

    observed = await observe(stage, CLIENTS, deed)
    check(figure, stage, observed, floor=2)
    assert [len(member.attempts) for member in observed.members] == [1] * len(observed.members)


async def test_a_secret_changes(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """`helm upgrade` that changes only a Secret of the chart replaces the pods, as any upgrade does."""
    stage = Stage(plane, tmp_path)

    async def deed() -> None:
        before = set(stage.pods)
        await stage.releases.upgrade(VALUES | {"apiKeys": {"keys": ["k" * 40]}}, UPGRADE_S)
        await stage.settled()
        assert not before & set(stage.pods)

    check(figure, stage, await observe(stage, CLIENTS, deed), floor=2)


async def test_scaling(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """`kubectl scale` from two replicas to five, and back: three drain at once."""
    stage = Stage(plane, tmp_path)

    async def deed() -> None:
        for replicas in (5, 2):
            await stage.scale(replicas)
            await stage.settled()

    observed = await observe(stage, CLIENTS, deed)
    check(figure, stage, observed, floor=2)
    assert [stop.code for stop in observed.stops] == [0] * 3


async def test_a_node_is_drained(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """`kubectl drain` of the node with all replicas: the disruption budget lets them go one after the other."""
    stage = Stage(plane, tmp_path, VALUES | {"topologySpread": {"hosts": "", "zones": ""}})
    refused: list[str] = []

    async def deed() -> None:
        first, second = stage.nodes
        await stage.cordon(first)
        for pod in list(first.pods):
            await _evicted(stage, pod.name, refused)
        await stage.until(lambda: not first.pods)
        await stage.settled()
        await stage.cordon(first, closed=False)
        await stage.cordon(second)
        for pod in list(second.pods):
            await _evicted(stage, pod.name, refused)
        await stage.until(lambda: not second.pods)
        await stage.settled()

    observed = await observe(stage, CLIENTS, deed)
    check(figure, stage, observed, floor=1, **{"evictions refused": len(refused)})
    assert refused
    assert {stop.code for stop in observed.stops} == {0}


async def _evicted(stage: Stage, name: str, refused: list[str]) -> None:
    pod = next(pod for pod in stage.pods if pod.name == name)

    async def goes() -> bool:
        if await stage.evict(pod):
            return True
        refused.append(name)
        return False

    await stage.until(goes)


async def test_a_node_vanishes(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """Its Lease is renewed no more, and its connections hang: the clients notice by heartbeats, and all resume."""
    stage = Stage(plane, tmp_path, VALUES | HEARTBEATS)
    lost: set[str] = set()

    async def deed() -> None:
        gone = stage.node_of(stage.pods[0])
        lost.update(pod.name for pod in gone.pods)
        await gone.vanish()
        rest = [node for node in stage.nodes if node is not gone]
        await stage.until(lambda: sum(pod.serving for node in rest for pod in node.pods) == 2)
        # All are back: until then messages wait in the clients, and come into the log one after the other.
        everybody = sum(part.members for part in CLIENTS)
        await stage.until(lambda: stage.timeline.moments[-1].connections >= everybody)

    observed = await observe(stage, CLIENTS, deed, killed=lambda: lost, gap_s=LOST_S)
    check(figure, stage, observed)


async def test_redis_is_restarted(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """`kill -9` of Redis in the middle of an upgrade: sends wait, and nothing is lost."""
    stage = Stage(plane, tmp_path)

    async def deed() -> None:
        upgrade = asyncio.create_task(stage.releases.upgrade(NEXT, UPGRADE_S))
        await stage.until(lambda: any(pod.deleted_at for pod in stage.pods))
        assert stage.redis is not None
        stage.redis.kill()
        await stage.redis.start()
        await upgrade
        await stage.settled()

    observed = await observe(stage, CLIENTS, deed)
    check(figure, stage, observed, floor=2)


async def test_a_single_replica_with_a_volume(plane: ControlPlane, tmp_path: Path, figure: Figure) -> None:
    """The old replica ends before the new one starts, on the same volume: a silence, and nothing lost. Meanwhile the
    clients try to come back, at their own pace, and find nobody."""
    stage = Stage(plane, tmp_path, EMBEDDED, redis=False)
    ended: set[str] = set()

    async def deed() -> None:
        ended.update(pod.name for pod in stage.pods)
        await stage.releases.upgrade(EMBEDDED | {"image": {"tag": "next"}}, UPGRADE_S)
        await stage.settled()

    observed = await observe(stage, CLIENTS, deed, killed=lambda: ended, gap_s=RECREATED_S)
    check(figure, stage, observed)
    assert [stop.code for stop in observed.stops] == [0]
