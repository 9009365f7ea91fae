"""Hearing from the other replicas by sharded pub/sub: a listener for each node that has topics.

The library's own cluster pub/sub leaves messages in its buffer, so each node has a plain connection. A topic is heard
from the node that has its slot. When a slot moves, or a replica is promoted, the topics follow, and the owner is told
that messages may have been missed.
"""

import asyncio
import secrets
from collections import defaultdict

from server.adapters.redis import keys
from server.adapters.redis.cluster.addresses import Address
from server.adapters.redis.cluster.node_listener import NodeListener
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import PARTITION_SLOTS, slot_of
from server.adapters.redis.cluster.table import owned
from server.adapters.redis.listener import SUBSCRIBE_WAIT_S, Hearing
from server.domain.errors import Unavailable

GATHER_S = 0.1
"""Between two times that topics follow their slots: many slots may move in a row."""

OTHERS_S = 1.0
"""How long a node that is heard again waits for others that are not, before it is told."""


class ClusterListener:
    """As `Listener`, over all nodes that have partitions. `linked` is set while all of them are heard."""

    def __init__(self, nodes: Nodes, shared: str, prefix: str, hearing: Hearing) -> None:
        self.linked = asyncio.Event()
        self.hearing = hearing
        self._nodes, self._prefix = nodes, prefix
        self._shared, self._replica = shared, secrets.token_hex(8)
        self._listeners: dict[Address, NodeListener] = {}
        self._running: dict[Address, asyncio.Task[None]] = {}
        self._where: dict[str, NodeListener | None] = {shared: None}  # the listener of each topic that is wanted
        self._ever_linked = False
        self._telling: asyncio.TimerHandle | None = None  # that a node is heard again, while others are not
        self._past_losses = self._past_deaf = 0  # of listeners that are no more
        self._arranged = asyncio.Event()  # the topics are given to nodes; set and made anew

    def is_shared(self, topic: str) -> bool:
        """Say whether the topic is known to all nodes."""
        return topic == self._shared

    @property
    def losses(self) -> int:
        """How often a node was lost that has topics."""
        return self._past_losses + sum(each.losses for each in self._listeners.values())

    @property
    def deaf(self) -> int:
        """How often a node had to be given up since nothing came back."""
        return self._past_deaf + sum(each.deaf for each in self._listeners.values())

    async def subscribe(self, topic: str) -> None:
        """As `Listener.subscribe`."""
        self._where.setdefault(topic, None)
        try:
            async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                while not await self._subscribe(topic):
                    pass
        except TimeoutError as error:
            raise Unavailable("Redis does not confirm the subscription") from error

    async def _subscribe(self, topic: str) -> bool:
        """Subscribe at the node that has the topic; or wait for the next change of nodes, and return False."""
        if topic not in self._where:
            raise Unavailable("the subscription was given up meanwhile")
        arranged, listener = self._arranged, self._where[topic] or self._of(topic)
        if listener is None:
            await arranged.wait()
            return False
        self._where[topic] = listener
        try:
            await listener.subscribe(topic)
        except Unavailable:
            if self._where.get(topic, listener) is listener:
                raise
            return False  # the topic has another node meanwhile
        return True

    async def unsubscribe(self, topic: str) -> None:
        """As `Listener.unsubscribe`."""
        listener = self._where.pop(topic, None)
        if listener is not None:
            await listener.unsubscribe(topic)

    async def run(self) -> None:
        """Keep the links until cancelled."""
        self._nodes.open()
        try:
            while True:
                version = self._nodes.version
                if version:
                    await self._arrange()
                else:
                    self._nodes.doubt()
                    await asyncio.sleep(GATHER_S)
                    continue
                await asyncio.sleep(GATHER_S)
                await self._nodes.changed(version)
        finally:
            if self._telling is not None:
                self._telling.cancel()
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            await self._nodes.close()

    def node_linked(self) -> None:
        """A node is heard again, or for the first time. Several nodes that come at once are told once."""
        if all(each.linked.is_set() for each in self._listeners.values()):
            self._ever_linked = True
            self.linked.set()
            self._tell()
        elif self._ever_linked and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(OTHERS_S, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self.hearing.restored()

    def node_lost(self) -> None:
        """A node is not heard any more."""
        self.linked.clear()

    def _of(self, topic: str) -> NodeListener | None:
        address = self._nodes.owner(slot_of(topic))
        return None if address is None else self._listeners.get(address)

    async def _arrange(self) -> None:
        """Listen to the nodes that have partitions, and let every topic be heard from the node that has its slot."""
        found = owned(self._nodes.table, PARTITION_SLOTS)
        for address, listener in [*self._listeners.items()]:
            if self._nodes.owner(PARTITION_SLOTS[listener.partition]) != address:
                await self._stop(address)
        for address, partition in found.items():
            if address not in self._listeners:
                self._start(address, partition)
        await self._follow()
        if all(each.linked.is_set() for each in self._listeners.values()):
            self.linked.set()
        self._arranged.set()
        self._arranged = asyncio.Event()

    async def _follow(self) -> None:
        """Let the topics follow their slots."""
        taken, given = defaultdict[NodeListener, list[str]](list), defaultdict[NodeListener, list[str]](list)
        for topic, before in self._where.items():
            now = self._of(topic)
            if now is not before:
                self._where[topic] = now
                for listener, topics in ((before, taken), (now, given)):
                    if listener is not None:
                        topics[listener].append(topic)
        for listener, left in taken.items():
            await listener.give_up(left)
        for listener, come in given.items():
            await listener.adopt([topic for topic in come if self._where.get(topic) is listener])

    def _start(self, address: Address, partition: int) -> None:
        pulse = keys.sharded_pulse(keys.PARTITIONS[partition], secrets.token_hex(8), self._prefix)
        listener = self._listeners[address] = NodeListener(self, self._nodes, address, partition, pulse)
        self.linked.clear()
        self._running[address] = asyncio.create_task(listener.run())

    async def _stop(self, address: Address) -> None:
        listener, task = self._listeners.pop(address), self._running.pop(address)
        for topic in [topic for topic, where in self._where.items() if where is listener]:
            self._where[topic] = None
            listener.forget(topic)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._past_losses += listener.losses
        self._past_deaf += listener.deaf
