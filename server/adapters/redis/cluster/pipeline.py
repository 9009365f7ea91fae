"""A pipeline for each node of a cluster."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.adapters.redis.cluster.exchange import ClusterExchange
from server.adapters.redis.cluster.lanes import Lanes, Place
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import slot_of_command, together
from server.adapters.redis.connection import Command
from server.adapters.redis.pipeline import Asked, Pipeline, Read
from server.adapters.redis.queue import Queue
from server.domain.errors import MaruError


@dataclass(slots=True, eq=False)
class _Placed(Asked):
    """A command in the queue of a place."""

    place: "Place[_NodePipeline] | None" = None

    def fail(self, error: MaruError) -> None:
        self._leave()
        Asked.fail(self, error)

    def settle(self, answer: Any) -> None:
        self._leave()
        Asked.settle(self, answer)

    def _leave(self) -> None:
        if self.place is not None:
            self.place.leave()
            self.place = None


class _NodePipeline(Pipeline):
    """Most of its commands are for a single node."""

    def __init__(self, exchange: ClusterExchange) -> None:
        Queue.__init__(self, exchange)


class ClusterPipeline(Pipeline):
    """As `Pipeline`; commands of the same slot are sent in order. `keep` is that of `Exchange`."""

    def __init__(self, nodes: Nodes, keep: int | None = None) -> None:
        self._exchanges = ClusterExchange(nodes, keep)  # makes the names of scripts; has no connection
        self._texts: list[bytes] = []  # of the scripts
        self._nodes, self._keep = nodes, keep
        self._lanes: Lanes[_NodePipeline] = Lanes(nodes, self._make)

    def _make(self, patient: bool) -> _NodePipeline:
        exchange = ClusterExchange(self._nodes, self._keep, patient=patient)
        for text in self._texts:
            exchange.script(text)
        return _NodePipeline(exchange)

    def together(self, keys: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
        return together(keys)

    def script(self, text: bytes) -> str:
        self._texts.append(text)
        for queue in self._lanes:
            queue.script(text)
        return self._exchanges.script(text)

    @property
    def crowded(self) -> bool:
        return any(queue.crowded for queue in self._lanes)

    def submit(self, command: Command, read: Read) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        place = self._lanes.enter(slot_of_command(command))
        assert place.queue is not None
        place.queue.put(_Placed(command, answer, loop.time(), read, place))
        return answer

    async def aclose(self) -> None:
        await self._lanes.aclose()
        await self._exchanges.aclose()
