"""A random secret that all replicas of a Redis share: made by whichever asks first."""

import secrets

from server.adapters.redis import keys, ways
from server.adapters.redis.master import Master
from server.domain.errors import MaruError, Unavailable

SECRET_BYTES = 32


async def shared_secret(url: str, prefix: str = keys.PREFIX) -> bytes:
    """Return the secret. Raises `Unavailable`."""
    pipeline, key = ways.pipeline(url, Master()), keys.secret(prefix)
    try:
        await pipeline.ask("SET", key, secrets.token_bytes(SECRET_BYTES), "NX")
        found = await pipeline.ask("GET", key)
    except MaruError as error:
        raise Unavailable("the secret that replicas share can't be read") from error
    finally:
        await pipeline.aclose()
    if not isinstance(found, bytes):
        raise Unavailable("the secret that replicas share is gone")
    return found
