"""Connections to Redis: plain, TLS, by password, by Sentinel; none waits longer than a client may be kept waiting."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from socketio.redis_manager import parse_redis_sentinel_url

CONNECT_TIMEOUT_S = 1.0
"""A frozen or unreachable Redis is an outage, not a hang: P1 leaves 2 s for a whole command."""

ANSWER_TIMEOUT_S = 1.2
"""For one batch of commands."""

_OPTIONS: Mapping[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": ANSWER_TIMEOUT_S,
    "decode_responses": False,
    "protocol": 2,
}


def connect(url: str, **options: Any) -> Redis:
    """Return a client that connects when it is first used. Takes `redis://`, `rediss://`, `unix://` and
    `redis+sentinel://user:password@host:port,host:port/db/service`."""
    # The library's own retries would multiply the waits above; callers here decide what is tried again.
    given = {**_OPTIONS, "retry": Retry(NoBackoff(), 0), **options}
    if url.startswith("redis+sentinel://"):
        sentinels, service, found = parse_redis_sentinel_url(url)
        sentinel = Sentinel(sentinels, sentinel_kwargs=given, **{**given, **found})  # type: ignore[no-untyped-call]
        master: Redis = sentinel.master_for(service or "mymaster")
        return master
    client: Redis = Redis.from_url(url, **given)
    return client
