"""How well Redis is guarded, as its URL tells."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio.sentinel import SentinelConnectionPool

from server.adapters.redis.cluster.addresses import is_cluster, node_url, seeds
from server.adapters.redis.link import connect
from server.domain.addresses import is_loopback


def password(url: str) -> str | None:
    """Return the password of the URL. Raises `ValueError` if it is no URL of Redis."""
    found = connect(_plain(url)[0]).connection_pool.connection_kwargs.get("password")
    return None if not found else str(found)


def lacks(url: str) -> tuple[str, ...]:
    """Return the guards that are missing on the way to a Redis on another machine: a password, TLS. Raises as above."""
    missing = dict.fromkeys(guard for each in _plain(url) for guard in _lacks(each))
    return tuple(missing)


def _plain(url: str) -> Sequence[str]:
    """Return the URLs of the nodes of a cluster; any other URL alone."""
    return [node_url(url, seed) for seed in seeds(url)] if is_cluster(url) else [url]


def _lacks(url: str) -> tuple[str, ...]:
    pool = connect(url).connection_pool
    options = pool.connection_kwargs
    if isinstance(pool, SentinelConnectionPool):
        hosts = [kwargs.get("host") for kwargs in _sentinels(pool)]
    else:
        hosts = [options.get("host", "localhost")]
    if "path" in options or all(is_loopback(host) for host in hosts):
        return ()
    by_tls = url.lower().startswith("rediss")
    return (*(() if options.get("password") else ("a password",)), *(() if by_tls else ("TLS",)))


def _sentinels(pool: SentinelConnectionPool) -> list[dict[str, Any]]:
    return [client.connection_pool.connection_kwargs for client in pool.sentinel_manager.sentinels]
