"""The secret that the replicas of a cluster have in common, and seal their hints with."""

import hashlib
from urllib.parse import urlsplit

import structlog

from server.adapters.redis.exposure import password
from server.settings.model import Settings

ROUNDS = 200_000
"""Of PBKDF2, over the password of Redis: it may be short, and be guessed from hints. Takes 0.1 s."""

_log = structlog.get_logger("maru.server")


def hint_secret(settings: Settings) -> bytes:
    """Return the secret of hints. Each use derives keys of its own from it.

    That is `MARU_CLUSTER_SECRET`, or else a secret that all replicas share anyway: `MARU_JWT_SECRET`; with public
    keys or an issuer, the password of the log's store, with which the log itself can be written. Without any of them
    nothing is secret, and the log says so.
    """
    for given in (settings.cluster_secret, settings.jwt_secret):
        if given is not None:
            return given.get_secret_value().encode()
    shared = _store_password(settings)
    if shared is None:
        _log.warning("cluster.secret_missing", remedy="set MARU_CLUSTER_SECRET, or a password of the store")
        shared = settings.jwt_public_key or ""
    return hashlib.pbkdf2_hmac("sha256", shared.encode(), b"maru: secret of a cluster", ROUNDS)


def _store_password(settings: Settings) -> str | None:
    """Return the password of the log's store, as its URL has it."""
    if settings.redis_url is not None:
        return password(settings.redis_url.get_secret_value())
    url = settings.postgres_url or settings.nats_url
    if url is None:
        return None
    parts = urlsplit(url.get_secret_value())
    return parts.password or (parts.username if url is settings.nats_url else None)  # a token stands for both
