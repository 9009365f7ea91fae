"""The nodes of a cluster as a process knows them: the slots of each, and what connections tell each other of a node."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar

import structlog
from redis.exceptions import RedisError

from server.adapters.redis.cluster.addresses import Address, node_url, seeds
from server.adapters.redis.cluster.table import Table, View, parse_view
from server.adapters.redis.connection import send
from server.adapters.redis.link import close, connect, make_connection, open_connection
from server.adapters.redis.master import Master
from server.domain.errors import Unavailable

REFRESH_S = 10.0
"""How often the nodes are asked for the table while all is well."""

AGAIN_S = 0.2
"""Between two times, at least, while a node is in doubt."""

VIEW_S = 0.9
"""For the first node's answer, with connecting."""

FIRST_S = 0.4
"""For the first node of the URL, which is asked alone while nothing is known: it is likely to be as good as all."""

OTHERS_S = 0.15
"""For the answers of the others behind it: a node that hangs must not hide what they say."""

ASKED = 16
"""Nodes that are asked, at most: those of the URL, and the first of the others."""

NODES_LIMIT = 1_000
"""Nodes of which something is remembered."""

MOVING_S = 2.0
"""How long a slot is taken to move, after Redis has said so."""

_UNTOLD = frozenset(("", "?"))
"""Hosts of redirections, if the cluster was set to tell none."""

_log = structlog.get_logger("maru.redis")


class NodeMaster(Master):
    """What the connections to a node of a cluster tell each other. Whether a node may drop keys is told to the
    process."""

    by_history: ClassVar[bool] = True

    def __init__(self, process: Master) -> None:
        super().__init__()
        self._process = process

    def learn_policy(self, policy: str | None) -> None:
        super().learn_policy(policy)
        self._process.evicts = self._process.evicts or self.evicts


class Nodes:
    """The cluster of a URL. Raises `ValueError` if that is none. Each user calls `open` and, at its end, `close`."""

    def __init__(self, url: str, process: Master) -> None:
        self.url, self._process = url, process
        self._seeds = seeds(url)
        connect(self.url_of(self._seeds[0]))  # options that the library does not know fail here
        self.table = Table()
        self.version = 0  # of the table; 0: nobody has answered yet
        self._moving: dict[int, float] = {}  # until when a slot is taken to move, on the loop's clock
        self._masters: dict[Address, NodeMaster] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = 0.0  # when the nodes were last asked
        self._changed = asyncio.Event()  # since this version
        self._users = 0

    def open(self) -> None:
        """Count a user."""
        self._users += 1

    async def close(self) -> None:
        """Count a user less; stop with the last."""
        self._users -= 1
        if not self._users and self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    @property
    def is_known(self) -> bool:
        """Whether any node has told the table."""
        return self.version > 0

    def url_of(self, address: Address) -> str:
        """Return the URL of a node."""
        return node_url(self.url, address)

    def master(self, address: Address) -> NodeMaster:
        """Return what is known of a node."""
        found = self._masters.get(address)
        if found is None:
            if len(self._masters) >= NODES_LIMIT:
                del self._masters[next(iter(self._masters))]
            found = self._masters[address] = NodeMaster(self._process)
        return found

    def owner(self, slot: int) -> Address | None:
        """Return the node that has the slot; None if nobody has it, or the table is not known yet."""
        return self.table.owners[slot]

    def moves(self, slot: int) -> bool:
        """Say whether the slot is being moved to another node."""
        until = self._moving.get(slot)
        if until is not None and until < asyncio.get_running_loop().time():
            del self._moving[slot]
            return False
        return until is not None

    def note_moving(self, slot: int) -> None:
        """Note that Redis has refused a command since its slot is being moved."""
        self._moving[slot] = asyncio.get_running_loop().time() + MOVING_S

    def note_moved(self, slot: int, address: Address) -> None:
        """Note that a node has named another as the owner of a slot."""
        self._moving.pop(slot, None)
        address = self.named(slot, address)
        if self.table.owners[slot] != address:
            self.table.owners[slot] = address
            self._tell()
        self.doubt()

    def named(self, slot: int, address: Address) -> Address:
        """Return the address to which a command of the slot was redirected, as the table has it. If no host is told, it
        is that of the node that redirects."""
        owner = self.table.owners[slot]
        if address[0] in _UNTOLD and owner is not None:
            address = owner[0], address[1]
        return self.table.named(address)

    def doubt(self) -> None:
        """Ask the nodes for the table soon, since a node does not serve as the table says."""
        if self._refreshing is None and self._users:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def known(self, deadline: float) -> None:
        """Return once the table is known. Raises `Unavailable`. `deadline` is on the loop's clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not self.is_known and self._users:
                    self.doubt()
                    if self._refreshing is not None:
                        told = asyncio.create_task(self.changed(0))
                        try:
                            await asyncio.wait((self._refreshing, told), return_when=asyncio.FIRST_COMPLETED)
                        finally:
                            told.cancel()
        if not self.is_known:
            raise Unavailable("no node of the Redis Cluster answers")

    async def changed(self, version: int) -> None:
        """Return once the table is another than that of a version."""
        while version == self.version:
            await self._changed.wait()

    async def follow(self) -> None:
        """Ask the nodes for the table from time to time, until cancelled."""
        self.open()
        try:
            while True:
                self.doubt()
                await asyncio.sleep(REFRESH_S)
        finally:
            await self.close()

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(max(0.0, self._refreshed + AGAIN_S - loop.time()))
            self._refreshed = loop.time()
            asked = tuple(dict.fromkeys((*self._seeds, *self.table.nodes)))[:ASKED]
            first = [] if self.is_known else await self._views(asked[:1], FIRST_S)
            views = first or await self._views(asked, VIEW_S)
            if views:
                self._take(Table(views))
        except Exception:  # noqa: BLE001  # our own fault: log it; the next doubt asks again
            _log.exception("redis.table_failed")
        finally:
            self._refreshing = None

    async def _views(self, asked: Sequence[Address], within_s: float) -> list[View]:
        """Return the views of the nodes that answer, without waiting long for a node that is slower than another."""
        waiting, views = {asyncio.create_task(self._view(address)) for address in asked}, list[View]()
        ends_at = asyncio.get_running_loop().time() + within_s
        try:
            while waiting:
                left = ends_at - asyncio.get_running_loop().time()
                done, waiting = await asyncio.wait(waiting, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
                found = [view for task in done if (view := task.result()) is not None and view.claims]
                if found and not views:
                    if not self.is_known:
                        self._take(Table(found))  # nobody has to wait for the others
                    ends_at = min(ends_at, asyncio.get_running_loop().time() + OTHERS_S)
                views += found
                if not done:
                    break
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return views

    def _take(self, table: Table) -> None:
        new = not self.version or table.owners != self.table.owners
        self.table = table
        if new:
            self._tell()

    def _tell(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _view(self, address: Address) -> View | None:
        """Return what a node says; None if it does not answer in time."""
        client = connect(self.url_of(address))
        connection = make_connection(client)
        try:
            async with asyncio.timeout(VIEW_S):
                await open_connection(connection)
                (answer,) = await send(connection, [("CLUSTER", "NODES")])
            return parse_view(answer.decode(errors="replace"), address) if isinstance(answer, bytes) else None
        except (RedisError, OSError, TimeoutError):
            return None
        finally:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            await close(client)


def nodes_of(url: str, process: Master) -> Nodes:
    """Return the nodes that the connections of a process share. Raises `ValueError`."""
    found: Any = process.clusters.get(url)
    if found is None:
        found = process.clusters[url] = Nodes(url, process)
    nodes: Nodes = found
    return nodes
