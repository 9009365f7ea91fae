"""The secret that replicas share through Redis."""

import asyncio

import pytest

from server.adapters.redis.shared_secret import SECRET_BYTES, shared_secret
from server.domain.errors import Unavailable
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_replicas_find_the_same(redis_server: RedisProcess) -> None:
    """Whichever of them asks first, also all at once; another deployment in the same Redis has its own."""
    found = await asyncio.gather(*(shared_secret(redis_server.url, "secret-1:") for _ in range(10)))
    assert len(set(found)) == 1
    assert len(found[0]) == SECRET_BYTES
    assert await shared_secret(redis_server.url, "secret-1:") == found[0]
    assert await shared_secret(redis_server.url, "secret-2:") != found[0]


async def test_redis_is_away() -> None:
    """An error that is told to the client that asks for a cookie."""
    with pytest.raises(Unavailable):
        await shared_secret(f"redis://127.0.0.1:{free_port()}/0")
