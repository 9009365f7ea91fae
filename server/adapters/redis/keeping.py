"""Whether writes are kept: asked in their own round trip, before they are answered.

A failover by Sentinel makes a replica the master at once, and demotes the old master many seconds later. Whatever the
old master takes meanwhile is thrown away. But that replica no longer confirms it, and the sentinels can tell why.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import SentinelConnectionPool

from server.adapters.redis.master import NotKept
from server.adapters.redis.sentinels import Sentinels

MARGIN_S = 0.15
"""Of a round trip's time, left after WAIT: it must answer before the round trip is given up."""

SOON_MS = 50
"""How long every replica is waited for before the sentinels are asked. A replica that hangs slows each round trip by so
much, until Redis gives it up."""

Command = tuple[Any, ...]


class Keeping:
    """The checks of a connection of `client` that writes. A write is kept once `replicas` others have it; and, with
    Sentinel, once every replica has it, or no failover is under way."""

    def __init__(self, client: Redis, replicas: int) -> None:
        pool = client.connection_pool
        self._sentinels: Sentinels | None = None
        if isinstance(pool, SentinelConnectionPool):
            self._sentinels, self._service = pool.sentinel_manager, pool.service_name
        self._replicas = replicas
        self._attached = 0  # replicas of the node, now
        self._most = 0  # and at most, on this connection

    @property
    def asks_nobody(self) -> bool:
        """Whether a write is kept as soon as it is answered."""
        return not self._replicas and self._sentinels is None

    @property
    def by_sentinel(self) -> bool:
        """Whether `judge` needs the answer to ROLE each time."""
        return self._sentinels is not None

    def connected(self, role: Any) -> None:
        """Begin with another node, of which `role` is the answer to ROLE."""
        self._most = 0
        self._count(role)

    def checks(self, left_s: float) -> tuple[Command, ...]:
        """Return the commands that follow the writes."""
        checks = list[Command]()
        if self._replicas:
            checks.append(("WAIT", self._replicas, max(1, round((left_s - MARGIN_S) * 1000))))
        if self._sentinels is not None and self._attached > self._replicas:
            checks.append(("WAIT", self._attached, SOON_MS))
        return tuple(checks)

    async def judge(self, waits: Sequence[Any], roles: Sequence[Any], connection: Any) -> None:
        """Return if the writes are kept. Takes the answers to the checks, to ROLE if it was asked, and the connection
        that they came from. Raises `NotKept`, or `NotMaster`."""
        for role in roles:
            self._count(role)
        confirmed = [wait if isinstance(wait, int) else 0 for wait in waits]  # without the right to WAIT, by none
        if self._replicas and confirmed[0] < self._replicas:
            raise NotKept(f"{confirmed[0]} of {self._replicas} replicas have the write")
        if self._sentinels is not None and max(confirmed, default=0) < max(self._most, 1):
            await self._sentinels.confirm(self._service, (connection.host, connection.port))

    def _count(self, role: Any) -> None:
        self._attached = len(role[2]) if isinstance(role, list) else 0
        self._most = max(self._most, self._attached)
