"""A queue for each node of a cluster, so that a node that hangs holds up no other.

The commands of a slot stay in their order: as long as a queue has any that is not answered, those that follow go into
the same, also if the slot has another owner by now. The queue's exchange follows redirects.
"""

import asyncio
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Generic, TypeVar

from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import SLOTS
from server.adapters.redis.queue import ANSWER_S, Queue


class Lane(Enum):
    """The queues that belong to no node."""

    UNKNOWN = 0  # the table is not known yet, or nobody has the slot
    MOVING = 1  # slots that are being moved: their commands may have to be tried for long


Q = TypeVar("Q", bound=Queue[Any])


class Place(Generic[Q]):
    """Where the commands of a slot go. `waiting` of them are not answered."""

    __slots__ = ("queue", "waiting")

    def __init__(self) -> None:
        self.queue: Q | None = None
        self.waiting = 0

    def leave(self) -> None:
        """Count an answer."""
        self.waiting -= 1


class Lanes(Generic[Q]):
    """The queues; `make` makes another, which is patient or not (exchange.py)."""

    def __init__(self, nodes: Nodes, make: Callable[[bool], Q]) -> None:
        nodes.open()
        self._nodes, self._make = nodes, make
        self._queues: dict[Hashable, Q] = {}  # by the node's address, or kind
        self._places: list[Place[Q] | None] = [None] * SLOTS
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()  # queues of nodes that have left

    def __iter__(self) -> Any:
        return iter(self._queues.values())

    def enter(self, slot: int) -> Place[Q]:
        """Return where a command of the slot goes, counted; the caller must `leave` once it is answered."""
        place = self._places[slot]
        if place is None:
            place = self._places[slot] = Place()
        if not place.waiting or place.queue is None:
            place.queue = self._queue(self._kind(slot))
        place.waiting += 1
        return place

    async def aclose(self) -> None:
        """Close all queues."""
        self._closed = True
        for queue in [*self._queues.values()]:
            await queue.aclose()
        await asyncio.gather(*self._closing)
        await self._nodes.close()

    def _kind(self, slot: int) -> Hashable:
        if self._nodes.moves(slot):
            return Lane.MOVING
        return self._nodes.owner(slot) or Lane.UNKNOWN

    def _queue(self, kind: Hashable) -> Q:
        queue = self._queues.get(kind)
        if queue is None:
            self._forget_old()
            queue = self._queues[kind] = self._make(isinstance(kind, Lane))
            if isinstance(kind, Lane):
                queue.round_trip_s = ANSWER_S  # it may have to look for the nodes, or to wait for them
            if self._closed:
                queue.stop()
        return queue

    def _forget_old(self) -> None:
        """Close the queues of nodes that have left the cluster, unless something waits in them."""
        used = {place.queue for place in self._places if place is not None and place.waiting}
        for kind, queue in [*self._queues.items()]:
            if not isinstance(kind, Lane) and kind not in self._nodes.table.nodes and queue not in used:
                del self._queues[kind]
                closing = asyncio.get_running_loop().create_task(queue.aclose())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
