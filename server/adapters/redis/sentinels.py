"""Asking every sentinel which node is the master: the newest answer counts.

A sentinel that has not heard of a failover yet names the old master, which lives on for some seconds and takes writes
that are thrown away. The library asks a single sentinel.
"""

import asyncio
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import RedisError

from server.adapters.redis.master import Master, NotKept, NotMaster

Address = tuple[str, int]

SENTINEL_TIMEOUT_S = 0.25
"""A sentinel that is away must leave time to ask the master."""

FOLLOW_S = 1.0
"""How often the sentinels are asked for the master while all is well."""


class _View(NamedTuple):
    """A sentinel's answer."""

    epoch: int  # of the last failover that it knows
    address: Address
    usable: bool  # the sentinel reaches the node
    fails_over: bool  # it has just begun to make another node the master


class Sentinels(Sentinel):
    """The sentinels of a URL. Raises as the library's class."""

    async def discover_master(self, service: str) -> Address:
        """Return the address of the master, for a new connection."""
        newest = _newest(await self._views(service))
        usable = [view.address for view in newest if view.usable]
        if not usable:
            raise MasterNotFoundError(f"no sentinel knows a master for {service!r}")
        return usable[0]

    async def confirm(self, service: str, address: Address) -> None:
        """Return if the node is the master, and no other is about to be. Raises `NotMaster` if another is; `NotKept`
        if another may be soon, or no sentinel answers."""
        views = await self._views(service)
        if not views:
            raise NotKept("no sentinel answers, and a replica is missing")
        if address not in [view.address for view in _newest(views)]:
            raise NotMaster("the sentinels name another master")
        if any(view.fails_over for view in views):
            raise NotKept("the sentinels are about to name another master")

    async def follow(self, service: str, master: Master) -> None:
        """Make all connections new whenever the sentinels name another master. Runs until cancelled."""
        known: Address | None = None
        while True:
            for address in [view.address for view in _newest(await self._views(service))][:1]:
                if known not in {None, address}:
                    master.renew(master.generation, "the sentinels name another master")
                known = address
            await asyncio.sleep(FOLLOW_S)

    async def _views(self, service: str) -> list[_View]:
        """Return the answers of the sentinels that answer in time."""
        views = await asyncio.gather(*(_view(sentinel, service) for sentinel in self.sentinels))
        return [view for view in views if view is not None]


async def _view(sentinel: Redis, service: str) -> _View | None:
    try:
        async with asyncio.timeout(SENTINEL_TIMEOUT_S):
            state: Any = await sentinel.sentinel_master(service)
        usable = state["is_master"] and not (state["is_sdown"] or state["is_odown"])
        address = state["ip"], state["port"]
        return _View(state["config-epoch"], address, usable, "failover_in_progress" in state["flags"])
    except (RedisError, OSError, TimeoutError, LookupError, TypeError, ValueError):
        return None  # it does not answer, does not know the service, or is no sentinel


def _newest(views: list[_View]) -> list[_View]:
    newest = max((view.epoch for view in views), default=0)
    return [view for view in views if view.epoch == newest]
