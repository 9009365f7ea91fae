"""A random secret that all replicas of a Redis share: made by whichever asks first."""

import asyncio
import secrets

from redis.exceptions import RedisError

from server.adapters.redis import keys
from server.adapters.redis.link import close, connect
from server.domain.errors import Unavailable

SECRET_BYTES = 32

WAIT_S = 2.0
"""How long Redis may take to answer."""


async def shared_secret(url: str, prefix: str = keys.PREFIX) -> bytes:
    """Return the secret. Raises `Unavailable`."""
    client, key = connect(url), keys.secret(prefix)
    try:
        async with asyncio.timeout(WAIT_S):
            await client.set(key, secrets.token_bytes(SECRET_BYTES), nx=True)
            found = await client.get(key)
    except (OSError, RedisError) as error:
        raise Unavailable("the secret that replicas share can't be read") from error
    finally:
        await close(client)
    if not isinstance(found, bytes):
        raise Unavailable("the secret that replicas share is gone")
    return found
