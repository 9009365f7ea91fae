"""The loops of a replica, which run until the end of the process."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.application.channels.hub import Hub
from server.bootstrap.replica import compose
from server.bootstrap.stores.open import open_stores
from server.settings.choices import MessageLogKind
from server.settings.model import Settings


@pytest.mark.parametrize("kind", [MessageLogKind.MEMORY, MessageLogKind.SQLITE])
async def test_channels_are_compared_with_the_log_whatever_the_store_is(kind: MessageLogKind, tmp_path: Path) -> None:
    """A hint can be lost without a trace within a process, too: its sender may be gone when a slow commit is done."""
    settings = Settings(
        _env_file=None,
        jwt_secret=SecretStr("a secret of the tests, longer than 32 bytes"),
        message_log=kind,
        sqlite_path=tmp_path / "maru.db",
    )
    async with AsyncExitStack() as resources, asyncio.TaskGroup() as tasks:
        replica = compose(settings, await open_stores(settings, resources), tasks, resources)
        loops = replica.loops()
        assert {Hub.run.__name__, Hub.compare.__name__} <= {getattr(loop, "__name__", "") for loop in loops}
        for loop in loops:
            loop.close()
