"""A start over NATS that would not help to wait for is refused with one line."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.bootstrap.stores.memory import open_bus
from server.bootstrap.stores.nats import beside, open_stores
from server.settings.choices import BroadcastKind
from server.settings.errors import StartRefused
from server.settings.model import Settings
from tests.harness.nats import NatsProcess
from tests.harness.server import SECRET


def settings(url: str, **others: object) -> Settings:
    """Settings over NATS."""
    given = {"_env_file": None, "jwt_secret": SecretStr(SECRET), "nats_url": SecretStr(url), **others}
    return Settings(**given)  # type: ignore[arg-type]  # the types of all settings


async def refusal(given: Settings) -> str:
    """The line with which the start is refused."""
    async with AsyncExitStack() as stack:
        with pytest.raises(StartRefused) as refused:
            await open_stores(given, stack)
    return str(refused.value)


async def test_what_no_waiting_cures_is_refused(tmp_path: Path) -> None:
    """A URL that is none, a NATS without streams, more servers for each stream than there are."""
    assert (await refusal(settings("nats://maru:se/cret@one"))).startswith("MARU_NATS_URL: not a NATS URL")
    async with NatsProcess(tmp_path / "one", jetstream=False) as server:
        assert "has no JetStream" in await refusal(settings(server.url))
    async with NatsProcess(tmp_path / "two") as server:
        told = await refusal(settings(server.url, nats_replicas=3))
        assert told.startswith("MARU_NATS_REPLICAS: 3, which this NATS refuses: ")


async def test_hints_alone_need_no_streams(tmp_path: Path) -> None:
    """Beside another store."""
    async with NatsProcess(tmp_path, jetstream=False) as server, AsyncExitStack() as stack:
        given = settings(server.url, redis_url=SecretStr("redis://one"), broadcast=BroadcastKind.NATS)
        bus = await beside(given, open_bus(), stack)
        assert bus.link.is_set()
        for loop in bus.loops:
            loop.close()
