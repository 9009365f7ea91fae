"""A standby is promoted under two real replicas: clients are told, and nothing acked is lost if it was synchronous."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.cluster import ready
from tests.harness.postgres import PostgresProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

ROOM = "room:1"
HEAL_S = 20.0


@dataclass(slots=True)
class Deployment:
    """Two replicas over a primary and its standby."""

    primary: PostgresProcess
    standby: PostgresProcess
    replicas: list[ServerProcess]


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    """All take part; a commit waits for the standby."""
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(PostgresProcess())
        standby = await stack.enter_async_context(await primary.standby())
        await primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await primary.query("SELECT pg_reload_conf()")

        async def in_step() -> bool:
            return len(await primary.query("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")) == 1

        await polled(in_step, HEAL_S, lambda: "the standby is synchronous")
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        env = {"MARU_POSTGRES_URL": f"postgresql://maru@{hosts}/maru?target_session_attrs=read-write"}
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            replicas.append(ServerProcess(tmp_path / name, env))
            stack.push_async_exit(replicas[-1])
        await asyncio.gather(*(replica.start() for replica in replicas))
        await asyncio.gather(*map(ready, replicas))
        yield Deployment(primary, standby, replicas)


async def sent(client: RawSocket, text: str) -> bool:
    """Send once; return whether it is acked."""
    answer = await client.ask("message:send", {"channel": ROOM, "text": text, "key": text})
    assert answer["ok"] or answer["error"]["code"] == "unavailable"
    return bool(answer["ok"])


async def test_a_promoted_standby_is_told(deployment: Deployment, figure: Figure) -> None:
    """Whoever is connected, and whoever comes back, learns that the epoch is another; all that was acked is there."""
    alice, bob, away = [await RawSocket.chat(deployment.replicas[number % 2].port, token("u")) for number in range(3)]
    joins = [await each.ask("channel:join", {"channel": ROOM}) for each in (alice, bob, away)]
    away.vanish()
    for number in range(20):
        assert await sent(alice, f"before {number}")
    await deployment.primary.query("ALTER SYSTEM RESET synchronous_standby_names")
    deployment.primary.kill()
    began = time.monotonic()
    await deployment.standby.query("ALTER SYSTEM SET synchronous_standby_names = ''")
    await deployment.standby.promote()
    async with asyncio.timeout(HEAL_S):
        while not await sent(alice, "after"):
            pass
        figure(f"acked again {time.monotonic() - began:.1f} s after the death of the primary, promotion included")
        told = await bob.event("channel:resumed", HEAL_S)
        assert (told["recovered"], told["reason"]) == (False, "epoch_changed")
        assert told["epoch"] != joins[1]["epoch"]
    before = {ROOM: {"epoch": joins[2]["epoch"], "offset": 20}}
    back = await RawSocket.chat(deployment.replicas[0].port, token("u"), before)
    assert (await back.event("channel:resumed"))["reason"] == "epoch_changed"
    page = await back.ask("history:read", {"channel": ROOM, "after": 0, "limit": 100})
    assert [message["text"] for message in page["messages"]] == [*(f"before {number}" for number in range(20)), "after"]
    assert [message["offset"] for message in page["messages"]] == list(range(1, 22))
    for client in (alice, bob, back):
        client.vanish()
    for replica in deployment.replicas:
        assert not [line for line in replica.faults() if line.get("event") != "postgres.away"]
