"""The secret that replicas share through their store."""

import asyncio

import pytest

from server.adapters.postgres import shared_secret as in_postgres
from server.adapters.postgres.database import Database
from server.adapters.redis.shared_secret import SECRET_BYTES, shared_secret
from server.domain.errors import Unavailable
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import RedisServer
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_replicas_find_the_same(any_redis: RedisServer) -> None:
    """Whichever of them asks first, also all at once; another deployment in the same Redis has its own."""
    found = await asyncio.gather(*(shared_secret(any_redis.url, "secret-1:") for _ in range(10)))
    assert len(set(found)) == 1
    assert len(found[0]) == SECRET_BYTES
    assert await shared_secret(any_redis.url, "secret-1:") == found[0]
    assert await shared_secret(any_redis.url, "secret-2:") != found[0]


async def test_redis_is_away() -> None:
    """An error that is told to the client that asks for a cookie."""
    with pytest.raises(Unavailable):
        await shared_secret(f"redis://127.0.0.1:{free_port()}/0")


async def test_replicas_of_a_postgres_find_the_same(postgres_server: PostgresProcess) -> None:
    """Whichever of them asks first, also all at once."""
    await emptied(postgres_server, "secret")
    async with Database(postgres_server.url) as one, Database(postgres_server.url) as two:
        found = await asyncio.gather(*(in_postgres.shared_secret(db) for db in (one, two) * 5))
        assert len(set(found)) == 1
        assert len(found[0]) == in_postgres.SECRET_BYTES


async def test_postgres_is_away() -> None:
    """An error, as with Redis."""
    with pytest.raises(Unavailable):
        await in_postgres.shared_secret(Database(f"postgresql://maru@127.0.0.1:{free_port()}/maru"))
