"""Round trips to a cluster: each command goes to the node that has its slot, and after it if the slot has moved."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from server.adapters.redis.cluster.addresses import Address
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import UNGUARDED, guarded, slot_of_command
from server.adapters.redis.connection import Command
from server.adapters.redis.exchange import Exchange
from server.adapters.redis.link import connect
from server.adapters.redis.master import NotKept
from server.domain.errors import Unavailable

PAUSE_S = 0.03
"""Between tries of commands whose slot is being moved."""

PATIENCE_S = 0.1
"""How long a round trip that carries commands of many slots tries those of a slot that is being moved, at most: the
others wait. The next of that slot go a way of their own, and are tried until their deadline (lanes.py)."""

REDIRECTS = 8
"""Of a command in a round trip, at most."""


class ClusterExchange(Exchange):
    """As `Exchange`, over the nodes of a cluster: a connection to each that is needed. Commands of a slot are executed
    in their order, also if they are redirected. `patient` round trips try until their deadline."""

    def __init__(self, nodes: Nodes, keep: int | None = None, *, patient: bool = False) -> None:
        nodes.open()
        self._nodes, self._keep, self._patient = nodes, keep, patient
        self._links: dict[Address, Exchange] = {}
        self._texts: dict[str, bytes] = {}  # of the scripts, by hash
        self.keeps_at_once = not keep

    def script(self, text: bytes) -> str:
        """Return the hash of the script as a cluster runs it: its hints go to the node of their channel alone."""
        text = UNGUARDED + text.replace(b"'PUBLISH'", b"'SPUBLISH'")
        name = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._texts[name] = text
        for link in self._links.values():
            link.script(text)
        return name

    async def round_trip(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """As `Exchange.round_trip`. Raises `Unavailable` if any of the nodes that are needed does not answer."""
        await self._nodes.known(deadline)
        await self._forget_links()
        ends_at = deadline if self._patient else min(deadline, asyncio.get_running_loop().time() + PATIENCE_S)
        answers: list[Any] = [None] * len(commands)
        slots = [slot_of_command(command) for command in commands]
        asking = dict[int, Address]()  # by the index of a command, the node that may have its keys already
        waiting, redirects = list(range(len(commands))), 0
        while waiting and redirects < REDIRECTS:
            await self._send(commands, slots, waiting, asking, answers, deadline)
            waiting = [index for index in waiting if isinstance(answers[index], AskError | TryAgainError)]
            asking = self._heed(slots, waiting, answers)
            if any(isinstance(answers[index], TryAgainError) for index in waiting):
                if asyncio.get_running_loop().time() + PAUSE_S >= ends_at:
                    break
                await asyncio.sleep(PAUSE_S)
            else:
                redirects += 1
        return answers

    def _heed(self, slots: Sequence[int], redirected: Sequence[int], answers: Sequence[Any]) -> dict[int, Address]:
        """Take note of where commands were redirected; return those that another node is to be asked for once."""
        asking = dict[int, Address]()
        for index in redirected:
            answer = answers[index]
            if isinstance(answer, MovedError):
                self._nodes.note_moved(slots[index], (answer.host, answer.port))
            elif isinstance(answer, AskError):
                asking[index] = self._nodes.named(slots[index], (answer.host, answer.port))
            else:
                self._nodes.note_moving(slots[index])
        return asking

    async def aclose(self) -> None:
        """Close the connections. No round trip may be under way."""
        for link in self._links.values():
            await link.aclose()
        await self._nodes.close()

    async def _send(
        self,
        commands: Sequence[Command],
        slots: Sequence[int],
        indexes: Sequence[int],
        asking: dict[int, Address],
        answers: list[Any],
        deadline: float,
    ) -> None:
        """Send some of the commands, to all nodes at once, and put the answers in their places."""
        groups = defaultdict[Address, list[int]](list)
        for index in indexes:
            address = asking.get(index) or self._nodes.owner(slots[index])
            if address is None:
                answers[index] = ClusterDownError("no node has the slot")
                self._nodes.doubt()
            else:
                groups[address].append(index)
        trips = [self._to(address, commands, group, asking, answers, deadline) for address, group in groups.items()]
        if len(trips) == 1:
            await trips[0]
            return
        for problem in await asyncio.gather(*trips, return_exceptions=True):
            if problem is not None:
                raise problem

    async def _to(
        self,
        address: Address,
        commands: Sequence[Command],
        indexes: Sequence[int],
        asking: dict[int, Address],
        answers: list[Any],
        deadline: float,
    ) -> None:
        sent = list[Command]()
        for index in indexes:
            if index in asking:
                sent.append(("ASKING",))
            sent.append(guarded(commands[index]))
        try:
            found = await self._link(address).round_trip(sent, deadline)
        except Unavailable as error:
            if not isinstance(error.__cause__, NotKept):
                self._nodes.doubt()
            raise
        of_commands = (answer for answer, command in zip(found, sent, strict=True) if command[0] != "ASKING")
        for index, answer in zip(indexes, of_commands, strict=True):
            answers[index] = answer

    async def _forget_links(self) -> None:
        """Close the connections to nodes that have left the cluster, once there are more than nodes."""
        nodes = self._nodes.table.nodes
        if len(self._links) > len(nodes):
            for address in [each for each in self._links if each not in nodes]:
                await self._links.pop(address).aclose()

    def _link(self, address: Address) -> Exchange:
        link = self._links.get(address)
        if link is None:
            link = Exchange(connect(self._nodes.url_of(address)), self._nodes.master(address), self._keep)
            for text in self._texts.values():
                link.script(text)
            self._links[address] = link
        return link
