"""A random secret that all replicas of a NATS share: the first to ask makes it."""

import secrets

from server.adapters.nats.documents import NEW, Documents
from server.domain.errors import Unavailable

SECRET_BYTES = 32

PART = "secret"


async def shared_secret(shared: Documents) -> bytes:
    """Return the secret. Raises `Unavailable`."""
    found = await shared.get(PART)
    if found is None:
        await shared.put(secrets.token_bytes(SECRET_BYTES), PART, after=NEW)
        found = await shared.get(PART)
    if found is None:
        raise Unavailable("the secret that replicas share is gone")
    return found.data
