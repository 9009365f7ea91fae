"""A random secret that all replicas of a PostgreSQL share: made by whichever asks first."""

import secrets

from server.adapters.postgres.database import Database
from server.adapters.postgres.deadline import deadline
from server.domain.errors import Unavailable

SECRET_BYTES = 32

_MAKE = "INSERT INTO maru.secret (secret) VALUES ($1) ON CONFLICT DO NOTHING"
_FIND = "SELECT secret FROM maru.secret"


async def shared_secret(db: Database) -> bytes:
    """Return the secret. Raises `Unavailable`."""
    async with deadline():
        found = await db.fetchval(_FIND)
        if found is None:
            await db.execute(_MAKE, secrets.token_bytes(SECRET_BYTES))
            found = await db.fetchval(_FIND)
    if not isinstance(found, bytes):
        raise Unavailable("the secret that replicas share is gone")
    return found
