"""The listener of a node of a cluster."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import MovedError, RedisError

from server.adapters.redis.cluster.addresses import Address
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.link import write
from server.adapters.redis.listener import Hearing, Listener

_KINDS: Final = {b"smessage": b"message", b"ssubscribe": b"subscribe"}


class Owner(Protocol):
    """The listener of all nodes."""

    hearing: Hearing

    def is_shared(self, topic: str) -> bool:
        """Say whether the topic is known to all nodes."""
        ...

    def node_linked(self) -> None:
        """Take note that a node is heard."""
        ...

    def node_lost(self) -> None:
        """Take note that a node is not heard any more."""
        ...


class NodeListener(Listener):
    """Hears the topics of a node, and calls itself by way of a partition that the node has, of this number."""

    def __init__(self, owner: Owner, nodes: Nodes, address: Address, partition: int, pulse: str) -> None:
        hearing = owner.hearing
        own = Hearing(hearing.publish, hearing.receive, self._is_linked, hearing.moved, hearing.pulse_s)
        place = {"node": f"{address[0]}:{address[1]}"}
        super().__init__(nodes.url_of(address), nodes.master(address), (pulse,), own, place)
        self.address, self.partition = address, partition
        self._owner, self._nodes = owner, nodes
        self._follows = False  # topics were asked for that another node had

    async def adopt(self, topics: Sequence[str]) -> None:
        """Hear topics that another node had until now; the owner is told once they are heard."""
        for topic in topics:
            self._topics.want(topic).add_done_callback(_heed)
        async with self._sending:
            if self._connection is not None:  # else connecting asks for all
                asked = [topic for topic in topics if self._topics.ask(topic) == "SUBSCRIBE"]
                self._follows = True
                with contextlib.suppress(RedisError, OSError):  # the next connection asks for them
                    await self._ask_for(self._connection, asked)
                    await write(self._connection, ("PING",))

    async def give_up(self, topics: Sequence[str]) -> None:
        """Stop hearing topics that another node has."""
        for topic in topics:
            self._topics.forget(topic)
        async with self._sending:
            if self._connection is not None:
                with contextlib.suppress(RedisError, OSError):
                    await write(self._connection, *(self._worded("UNSUBSCRIBE", (topic,)) for topic in topics))

    def forget(self, topic: str) -> None:
        """Give a topic up: this listener ends."""
        self._topics.forget(topic)

    async def _ask_for(self, connection: AbstractConnection, topics: Sequence[str]) -> None:
        # A command for each topic: those of a command would have to share a slot.
        await write(connection, *(self._worded("SUBSCRIBE", (topic,)) for topic in topics))

    def _worded(self, command: str, topics: Sequence[str]) -> tuple[str, ...]:
        return (command if self._owner.is_shared(topics[0]) else f"S{command}", *topics)

    async def hear(self, connection: AbstractConnection) -> None:
        while True:
            try:
                await super().hear(connection)
            except MovedError as error:  # the answer to a subscription; the topics follow the slot
                self._nodes.note_moved(error.slot_id, (error.host, error.port))

    async def take(self, message: list[Any]) -> None:
        kind, *rest = message
        if kind == b"sunsubscribe":
            self._nodes.doubt()  # unasked: the node has given the slot away
        elif kind == b"pong" and self._follows:
            self._follows = False
            self._owner.hearing.moved()
        else:
            await super().take([_KINDS.get(kind, kind), *rest])

    def _is_linked(self) -> None:
        self._follows = False
        self._owner.node_linked()

    def lost(self, error: BaseException) -> None:
        super().lost(error)
        self._nodes.doubt()
        self._owner.node_lost()


def _heed(confirmed: asyncio.Future[None]) -> None:
    """Take the error of a subscription for which nobody waits."""
    if not confirmed.cancelled():
        confirmed.exception()
