"""Drafts on their way to a cluster: a queue for each node."""

from collections.abc import Callable, MutableSet
from functools import partial
from typing import Any
from weakref import WeakSet

from server.adapters.redis.appends import Appends, Opening, Read
from server.adapters.redis.cluster.exchange import ClusterExchange
from server.adapters.redis.cluster.lanes import Lanes, Place
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import slot_of
from server.adapters.redis.keys import partition
from server.adapters.redis.outcomes import Change
from server.domain.drafts import Sender


class _NodeAppends(Appends):
    """Most of its drafts are for a single node. All queues of a log share `refused`."""

    def __init__(self, exchange: ClusterExchange, opening: Opening, read: Read, refused: MutableSet[Sender]) -> None:
        super().__init__(exchange, opening, read)
        self._refused = refused

    def forget(self) -> None:
        """Nothing: drafts of the senders may wait in the other queues. A sender that is gone is forgotten."""


class ClusterAppends(Appends):
    """As `Appends`: the drafts of a channel are sent in order, and a sender that was refused anywhere is refused
    everywhere."""

    def __init__(self, nodes: Nodes, keep: int | None, opening: Opening, read: Read) -> None:
        super().__init__(ClusterExchange(nodes, keep), opening, read)
        self._texts: list[bytes] = []  # of the scripts
        self._nodes, self._keep = nodes, keep
        self._lanes: Lanes[_NodeAppends] = Lanes(nodes, self._make)
        self._refused = WeakSet()  # of all queues

    def _make(self, patient: bool) -> _NodeAppends:
        exchange = ClusterExchange(self._nodes, self._keep, patient=patient)
        for text in self._texts:
            exchange.script(text)
        return _NodeAppends(exchange, self._opening, self._read, self._refused)

    def script(self, text: bytes) -> str:
        self._texts.append(text)
        for queue in self._lanes:
            queue.script(text)
        return super().script(text)

    @property
    def crowded(self) -> bool:
        return any(queue.crowded for queue in self._lanes)

    def submit(self, draft: Change, sender: Sender | None, done: Callable[[Any], None]) -> None:
        place = self._lanes.enter(slot_of(partition(draft.channel)))
        assert place.queue is not None
        place.queue.submit(draft, sender, partial(self._told, place, done))

    async def aclose(self) -> None:
        await self._lanes.aclose()
        await super().aclose()

    def _told(self, place: Place[_NodeAppends], done: Callable[[Any], None], outcome: Any) -> None:
        place.leave()
        done(outcome)
