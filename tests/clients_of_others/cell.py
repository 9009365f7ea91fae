"""One cell of the matrix: a client in a case, with a channel of its own."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.clients_of_others.hidden import UNORDERED
from tests.clients_of_others.puppet import WAIT_S, Json, Puppet, Socket
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import until

EVENTS = frozenset(("message:created", "message:edited", "message:deleted"))


@dataclass(eq=False)
class Cell:
    """What one client has to do in one case. `failure` is why it did not."""

    client: str
    puppet: Puppet
    server: ServerProcess
    channel: str
    failure: BaseException | None = None
    sockets: list[Socket] = field(default_factory=list)

    @property
    def first(self) -> Socket:
        """The socket that was opened first."""
        return self.sockets[0]

    def token(self, user: str = "ann", ttl_s: float = 3600) -> str:
        """A token for a user of this cell alone: limits count by user."""
        return token(f"{user}.{self.channel}", ttl_s=ttl_s)

    async def live(self, user: str = "ann", ttl_s: float = 3600) -> Socket:
        """Connect, and wait for `session:ready`."""
        socket = self.socket()
        await socket.open(self.server.url, {"token": self.token(user, ttl_s)})
        await socket.event("session:ready")
        return socket

    def socket(self) -> Socket:
        """A new socket, closed at the end of the case."""
        self.sockets.append(self.puppet.socket())
        return self.sockets[-1]

    async def refused(self, auth: Json, namespace: str = "/chat") -> Json:
        """Connect, and expect to be told why not."""
        socket = self.socket()
        await socket.open(self.server.url, auth, (namespace,))
        return await socket.told("connect_error")

    async def enter(self, user: str = "ann", ttl_s: float = 3600) -> Socket:
        """Connect, wait for `session:ready`, and join the channel."""
        socket = await self.live(user, ttl_s)
        await self.join(socket)
        return socket

    async def join(self, socket: Socket, **fields: object) -> Json:
        """Join the channel."""
        joined = await socket.ask("channel:join", {"channel": self.channel} | fields)
        assert joined["ok"], joined
        return joined

    async def send(self, socket: Socket, text: str, **fields: object) -> Json:
        """Send a message; return the ack."""
        sent = await socket.ask("message:send", {"channel": self.channel, "text": text} | fields)
        assert sent["ok"], sent
        return sent

    def position(self, socket: Socket) -> Json:
        """The position of the last event that the socket has seen."""
        last = self.seen(socket)[-1]
        return {"epoch": last["epoch"], "offset": last["offset"]}

    def seen(self, socket: Socket) -> list[Json]:
        """The channel's events in the order in which the socket saw them: live, in answers and after a resume."""
        events: list[Json] = []
        for line in socket.lines:
            body = line["ack"] if line["is"] == "ack" else line.get("body")
            if not isinstance(body, dict) or body.get("channel") != self.channel:
                continue
            if line.get("name") in EVENTS:
                events.append(body)
            events.extend(body.get("events", []))
        return sorted(events, key=lambda event: int(event["offset"])) if self.client in UNORDERED else events

    async def sees(self, socket: Socket, text: str) -> None:
        """Wait until the socket has seen a text."""
        await until(
            lambda: text in self.texts(socket), socket.changed, WAIT_S, lambda: f"{text!r}: {self.texts(socket)}"
        )

    def texts(self, socket: Socket) -> list[str]:
        """The texts of these events."""
        return [event["message"]["text"] for event in self.seen(socket)]


Each = Callable[[Cell], Awaitable[None]]
"""A step that every cell does, all at the same time."""


@dataclass(frozen=True)
class Once:
    """A step that is done to the server, once for all cells."""

    act: Callable[[ServerProcess, Sequence[Cell]], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A row of the matrix: its steps, and the settings of its server. A cell that fails a step does no further one."""

    name: str
    steps: Sequence[Each | Once]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The name, as a part of a channel's."""
        return re.sub("[^a-z0-9]+", "-", self.name)

    @property
    def is_kind(self) -> bool:
        """Whether it leaves its server as it is."""
        return not self.env and not any(isinstance(step, Once) for step in self.steps)

    async def run(self, server: ServerProcess, cells: Sequence[Cell]) -> None:
        """Fill the cells."""
        try:
            for step in self.steps:
                if isinstance(step, Once):
                    await step.act(server, cells)
                else:
                    await asyncio.gather(*(_try(cell, step) for cell in cells if cell.failure is None))
        finally:
            await asyncio.gather(*(socket.close() for cell in cells for socket in cell.sockets))


async def _try(cell: Cell, step: Each) -> None:
    try:
        await step(cell)
    except (AssertionError, KeyError, TypeError, IndexError) as failure:  # also an answer of another form
        cell.failure = failure
