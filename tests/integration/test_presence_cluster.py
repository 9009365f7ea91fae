"""Presence over Redis, at three real replicas: crashes, updates and outages show as what they are, or as nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from server.adapters.redis import presence_keys
from server.application.people.presence_lease import LAST_BREATH_S
from tests.clients.resident import Resident
from tests.conftest import Figure
from tests.harness.cluster import ready
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled

pytestmark = pytest.mark.asyncio(loop_scope="module")

CRASH_S = 30.0
"""After a crash a user that does not come back has left within this time."""


@dataclass(slots=True)
class Deployment:
    """Three replicas and their Redis."""

    redis: RedisProcess
    replicas: list[ServerProcess]

    def ports(self, first: int) -> list[int]:
        """The ports of all, from one of them on."""
        ports = [replica.port for replica in self.replicas]
        return ports[first:] + ports[:first]

    async def read(self, resident: Resident) -> dict[str, Any]:
        """What a resident is shown, as soon as it is shown anything."""
        found: dict[str, Any] = {}

        async def shown() -> bool:
            found.update(await resident.ask("presence:read"))
            return bool(found["ok"])

        await polled(shown, 30.0, lambda: f"presence:read is answered: {found}")
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """All take part. A test that kills something starts it again."""
    tmp_path = tmp_path_factory.mktemp("deployment")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        env = {"MARU_REDIS_URL": redis.url, "MARU_LIMITS": "off", "MARU_DRAIN_TIMEOUT": "6"}
        replicas = []
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            replicas.append(await stack.enter_async_context(ServerProcess(tmp_path / name, env)))
        for replica in replicas:
            await ready(replica)
        yield Deployment(redis, replicas)


@asynccontextmanager
async def residents(*people: Resident) -> AsyncIterator[None]:
    """Let people live in their channel; at the end all are gone."""
    try:
        for person in people:
            await person.arrive()
        yield
    finally:
        for person in people:
            person.vanish()


async def settled(deployment: Deployment, witness: Resident, count: int) -> None:
    """Wait until the witness is shown so many users, and forget what it has heard so far."""

    async def all_there() -> bool:
        return (await witness.ask("presence:read")).get("count") == count

    await polled(all_there, 20.0, lambda: f"{count} are there")
    witness.heard.clear()


async def test_three_tabs_on_two_replicas_are_one_user(deployment: Deployment) -> None:
    """One joined, one left, and a version for each."""
    channel = "room:tabs"
    witness = Resident("witness", channel, deployment.ports(2))
    tabs = [Resident("bob", channel, deployment.ports(number % 2)) for number in range(3)]
    async with residents(witness):
        version = (await deployment.read(witness))["version"]
        for tab in tabs:
            await tab.arrive()
        await witness.hears("joined", "bob")
        for tab in tabs:
            await tab.leave()
        await witness.hears("left", "bob")
        assert witness.events == [("presence:joined", "bob", version + 1), ("presence:left", "bob", version + 2)]
        assert (await deployment.read(witness))["version"] == version + 2


async def test_a_crash_shows_as_who_does_not_come_back(deployment: Deployment, figure: Figure) -> None:
    """Of a replica that is killed, users that return elsewhere are not told of; the one that does not has left."""
    channel = "room:crash"
    witness = Resident("witness", channel, deployment.ports(1))
    back = [Resident(f"back-{number}", channel, deployment.ports(0)) for number in range(5)]
    lost = Resident("lost", channel, deployment.ports(0))
    async with residents(witness, *back, lost):
        await settled(deployment, witness, 7)
        lost.stay()
        killed = time.monotonic()
        await deployment.replicas[0].kill()
        lost.vanish()
        left = await witness.hears("left", "lost", timeout=CRASH_S) - killed
        figure(f"after a kill -9 the user that does not come back has left after {left:.1f} s")
        assert left < CRASH_S
        assert all(person.moves for person in back)
        shown = await deployment.read(witness)
        assert {member["user"] for member in shown["members"]} == {"witness", *(person.user for person in back)}
        assert [name for name, *_ in witness.events] == ["presence:left"]
    await deployment.replicas[0].start()
    await ready(deployment.replicas[0])


async def test_a_rolling_update_shows_as_nothing(deployment: Deployment, figure: Figure) -> None:
    """Three replicas are stopped and started, one after the other; twenty users, half of which wait to be cut off, and
    a witness move. It hears of nobody."""
    channel = "room:update"
    witness = Resident("witness", channel, deployment.ports(0))
    people = [
        Resident(f"user-{number}", channel, deployment.ports(number % 3), told=False, lazy=number % 2 == 0)
        for number in range(20)
    ]
    async with residents(witness, *people):
        await settled(deployment, witness, 21)
        for replica in deployment.replicas:
            assert await replica.terminate() == 0
            await replica.start()
            await ready(replica)
        moved = sum(person.moves for person in people)
        assert moved >= 20

        async def only_the_living() -> bool:
            seconds, _ = await deployment.redis.command("TIME")
            soon = (int(seconds) + round(LAST_BREATH_S)) * 1_000  # leases that are renewed end later
            return bool(await deployment.redis.command("ZCOUNT", presence_keys.holders(), "-inf", soon) == 0)

        await polled(only_the_living, 30.0, lambda: "the replicas that have ended are removed from the rosters")
        shown = await deployment.read(witness)
        assert shown["count"] == 21
        figure(f"a rolling update of three replicas: {moved} moves of 20 users, {len(witness.heard)} presence events")
        assert witness.heard == []


@pytest.mark.parametrize("seconds", [10, 30])
async def test_an_outage_of_redis(deployment: Deployment, figure: Figure, seconds: int) -> None:
    """Ten seconds show as nothing. After half a minute everybody is there again, and a change since is seen."""
    channel = f"room:outage-{seconds}"
    witness = Resident("witness", channel, deployment.ports(0))
    people = [Resident(f"user-{number}", channel, deployment.ports(number % 3)) for number in range(9)]
    async with residents(witness, *people):
        await settled(deployment, witness, 10)
        deployment.redis.kill()
        await asyncio.sleep(seconds / 2)
        assert (await witness.ask("presence:read"))["error"]["code"] == "unavailable"
        if seconds > 20:
            await people[0].leave()
        await asyncio.sleep(seconds / 2)
        await deployment.redis.start()
        expected = {"witness", *(person.user for person in people[1 if seconds > 20 else 0 :])}

        async def consistent() -> bool:
            shown = [await person.ask("presence:read") for person in (witness, *people[1:4])]
            return all(
                answer["ok"] and {member["user"] for member in answer["members"]} == expected for answer in shown
            )

        await polled(consistent, 40.0, lambda: "all replicas show the same, and who is there")
        figure(f"Redis away for {seconds} s: the witness heard {len(witness.heard)} presence events")
        if seconds < 20:
            assert witness.heard == []
