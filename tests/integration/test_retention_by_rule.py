"""The rules of the settings reach every log: a channel keeps what its rule says."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap.stores.open import open_stores
from server.domain.channels import ChannelName
from server.domain.rules import Rule
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.model import Settings
from tests.doubles.samples import new_message
from tests.harness.redis import RedisProcess

SHORT, LONG = ChannelName("short:1"), ChannelName("long:1")
RULES = {"short:*": Rule(retention_events=2), "long:*": Rule(retention_age_s=60)}


async def kept(settings: Settings) -> list[int]:
    """How many of four messages are left in each channel."""
    async with AsyncExitStack() as resources:
        stores = await open_stores(settings, resources)
        for loop in stores.bus.loops:  # the tasks of a server, which this is not
            loop.close()
        for number in range(8):
            await stores.log.append(new_message(number, (SHORT, LONG)[number % 2]))
        return [4 - (await stores.log.read(channel, 0, 0)).floor for channel in (SHORT, LONG)]


@pytest.mark.parametrize("kind", [MessageLogKind.MEMORY, MessageLogKind.SQLITE])
async def test_in_this_process(kind: MessageLogKind, tmp_path: Path) -> None:
    """In memory, and in a file."""
    assert await kept(_settings(message_log=kind, sqlite_path=tmp_path / "maru.db")) == [2, 4]


async def test_in_redis(tmp_path: Path) -> None:
    """As any replica asks it to."""
    async with RedisProcess(tmp_path) as redis:
        shared = {"message_log": MessageLogKind.REDIS, "broadcast": BroadcastKind.REDIS, "redis_url": redis.url}
        assert await kept(_settings(**shared)) == [2, 4]


def _settings(**values: Any) -> Settings:
    given: dict[str, Any] = {"jwt_secret": "k7" * 20, "channel_rules": RULES, **values}
    return Settings(_env_file=None, **given)
