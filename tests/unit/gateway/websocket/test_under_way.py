"""Commands under way are counted for the outbox: from when one is handled to its end, whatever that end is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import SILENT, Traffic
from tests.clients.frames import masked
from tests.doubles.virtual_time import turns
from tests.doubles.wired import QuietEvents, tcp_pair

SETTLED = 12
"""Turns of the event loop after which a deed has had all its effects."""


class Handling(QuietEvents):
    """Handles each packet until `proceed` is done."""

    def __init__(self) -> None:
        super().__init__()
        self.proceed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tasks: list[asyncio.Task[None]] = []

    async def received(self, connection: Connection, packet: str) -> None:
        """Wait. A future that fails lets the handling fail."""
        await self.proceed

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and keep the task."""
        self.tasks.append(asyncio.get_running_loop().create_task(work))


class Pending:
    """A command without a task."""

    def __init__(self) -> None:
        self.frame: bytes | None = None


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Connection, Handling, Outbox]]:
    """Open a connection whose client has sent two packets, read but not yet handled."""
    loop = asyncio.get_running_loop()
    ours, peer = tcp_pair()
    for end in (ours, peer):
        end.setblocking(False)
    outbox, events = Outbox(loop, 1 << 40, Traffic(), SILENT), Handling()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    connection = Connection(events, "id", transport, Inbox(loop), outbox)
    transport.set_protocol(connection)
    connection.data_received(masked("41") + masked("42"))
    try:
        yield connection, events, outbox
    finally:
        connection.abort(CloseReason.SERVER_STOPPED, "the scene ends")
        await turns(SETTLED)
        peer.close()


Deed = Callable[[Connection, Handling], object]


def answers(_: Connection, events: Handling) -> None:
    """Both packets are handled."""
    events.proceed.set_result(None)


def fails(_: Connection, events: Handling) -> None:
    """The handling raises."""
    events.proceed.set_exception(LookupError("on purpose"))


def cancels(_: Connection, events: Handling) -> None:
    """The task is cancelled."""
    events.tasks[0].cancel()


def aborts_then_answers(connection: Connection, events: Handling) -> None:
    """The connection is cut off while a packet is handled; the handling goes on to its end."""
    connection.abort(CloseReason.PING_TIMEOUT, "gone")
    events.proceed.set_result(None)


@pytest.mark.parametrize("deed", [answers, fails, cancels, aborts_then_answers])
async def test_a_command_is_counted_until_its_end(deed: Deed) -> None:
    """A client is counted once for all its packets, and no more once they are handled or given up."""
    async with busy() as (connection, events, outbox):
        await turns(SETTLED)
        assert outbox.wait.under_way == 1
        deed(connection, events)
        await turns(SETTLED)
        assert outbox.wait.under_way == 0
        await asyncio.gather(*events.tasks, return_exceptions=True)


async def test_a_command_that_never_begins_is_not_counted() -> None:
    """A task that is cancelled before its first step runs nothing that could count down."""
    async with busy() as (_, events, outbox):
        events.tasks[0].cancel()
        await turns(SETTLED)
        assert (events.tasks[0].cancelled(), outbox.wait.under_way) == (True, 0)


@pytest.mark.parametrize("cut_off", [False, True])
async def test_commands_without_a_task_are_counted_until_the_last_answer(cut_off: bool) -> None:
    """A client is counted once for all of them, also if it is gone before its answers come; a command that is taken
    back leaves nothing behind."""
    async with busy() as (connection, events, outbox):
        answers(connection, events)
        await turns(SETTLED)
        packets, commands = connection.packets, [Pending(), Pending()]
        for command in commands:
            packets.begin(command)
        assert outbox.wait.under_way == 1
        if cut_off:
            connection.abort(CloseReason.PING_TIMEOUT, "gone")
            await turns(SETTLED)
        for command, left in zip(commands, (1, 0), strict=True):
            command.frame = b"answer"
            packets.answer()
            assert outbox.wait.under_way == left
        packets.begin(Pending())
        packets.take_back()
        assert outbox.wait.under_way == 0
