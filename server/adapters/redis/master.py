"""What the connections of a process tell each other of the node that all of them lead to."""

import asyncio
from typing import Any, ClassVar

import structlog
from redis.exceptions import RedisError

_log = structlog.get_logger("maru.redis")


class NotMaster(RedisError):
    """The node is a replica, or another node has taken its place."""


class NotKept(RedisError):
    """The node has taken the writes, but they may be lost with it: a replica is missing."""


class Master:
    """A connection remembers `generation` when it connects. If the number has changed since, it connects again."""

    by_history: ClassVar[bool] = False
    """Whether a run ends when the node's history of writes does, and not only with its process."""

    def __init__(self) -> None:
        self.clusters: dict[str, Any] = {}  # by URL, the nodes of a Redis Cluster (cluster/nodes.py)
        self.generation = 0
        self.knows_run = True  # whether the newest node says which run of Redis it is
        self.evicts = False  # whether the newest node may drop keys when its memory is full
        self._renewal = asyncio.Event()  # of this generation

    def renew(self, generation: int, reason: str) -> None:
        """Make every connection of this generation connect again; of an earlier generation, they do so already."""
        if generation == self.generation:
            self.generation += 1
            self._renewal.set()
            self._renewal = asyncio.Event()
            _log.warning("redis.renewed", reason=reason)

    def learn_policy(self, policy: str | None) -> None:
        """Warn if the `maxmemory-policy` of a node lets it drop messages. None: the user may not ask."""
        evicts = policy not in {None, "noeviction"}
        if evicts and not self.evicts:
            _log.warning("redis.evicts", policy=policy, expected="noeviction")
        self.evicts = evicts

    def learn_run(self, run: str | None) -> None:
        """Warn if the user may not ask for the run id of a node: then a Redis that has lost messages may not be
        noticed."""
        if run is None and self.knows_run:
            _log.warning(
                "redis.run_unknown", problem="the user may not call INFO: allow it, so that losses are noticed"
            )
        self.knows_run = run is not None

    async def renewed(self, generation: int) -> None:
        """Return once the connections of the generation have to connect again."""
        while generation == self.generation:
            await self._renewal.wait()
