"""One client's WebSocket over a real socket: whatever both sides do, in any order, it ends as the plainest model says.

The model is told each deed of the client and of the server, and works out which packets must have been handled, which
frames the client must have been sent, and how far the connection must be. Time is virtual; the socket is not.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, cast

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loadtest.frames import Frames, Opcode
from server.application.sessions.session import Session
from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import CLOSE_WAIT_S, Connection
from server.gateway.websocket.events import ConnectionEvents
from server.gateway.websocket.frames import CloseCode
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import SILENT, Traffic
from tests.clients.frames import closing, masked, unmasked
from tests.doubles.virtual_time import VirtualTimeLoop, turns

SETTLED = 12
"""Turns of the event loop after which a deed has had all its effects: the longest chain of them takes eight."""

FEW = 20
"""Packets that wait at most: far below the bound at which reading pauses, which has a test of its own."""

READ = 1 << 16


class Recorder(ConnectionEvents[Connection]):
    """Notes what a connection tells. A packet is being handled until `proceed` is released."""

    def __init__(self) -> None:
        self.received_packets: list[tuple[str, bool]] = []
        self.ends: list[str] = []
        self.proceed = asyncio.Semaphore(0)
        self._tasks: set[asyncio.Task[None]] = set()

    def may_begin(self) -> bool:
        """Give every turn room."""
        return True

    def take_at_once(self, connection: Connection, packet: str) -> bool:
        """Leave every packet to `received`."""
        return False

    async def received(self, connection: Connection, packet: str) -> None:
        """Note the packet, and whether it is to be skipped; wait."""
        self.received_packets.append((packet, connection.packets.skipped))
        await self.proceed.acquire()

    def leaving(self, connection: Connection) -> None:
        """Hang up soon, as the registry does."""
        asyncio.get_running_loop().call_soon(connection.hang_up)

    def lost(self, connection: Connection) -> None:
        """Note it."""
        self.ends.append("lost")

    def ended(self, connection: Connection) -> None:
        """Note it."""
        self.ends.append("ended")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Model:
    """What must be the case. It knows deeds only, and neither bytes nor turns of a loop."""

    def __init__(self) -> None:
        self.open, self.closed, self.deaf, self.held = True, False, False, False
        self.parting: tuple[CloseCode, str] | None = None  # the server's close frame that is to come
        self.sends_close = True
        self.cause: CloseReason | None = None
        self.code: int | None = None
        self.handled: list[tuple[str, bool]] = []
        self.busy = False
        self.waiting: list[tuple[str, bool]] = []
        self.sent: list[tuple[int, bytes]] = []
        self._unread: list[tuple[str, Any]] = []  # deeds of the client since reading was held

    # The client

    def client(self, deed: str, detail: Any = None) -> None:
        """Take a deed of the client: it counts as soon as it is read."""
        if self.held and self.open:
            self._unread.append((deed, detail))
        elif not self.closed:
            getattr(self, deed)(detail)

    def says(self, packet: str) -> None:
        if self.open:
            self.waiting.append((packet, False))
            self._next()

    def pings(self, payload: bytes) -> None:
        if self.open:
            self.sent.append((Opcode.PONG, payload))

    def closes(self, code: int | None) -> None:
        if not self.deaf:
            self._close(code or CloseCode.NORMAL, CloseReason.CLIENT_LEFT, answers=True)
            self.closed = True

    def breaks_the_protocol(self, _: None) -> None:
        if not self.deaf:
            self._close(CloseCode.PROTOCOL_ERROR, CloseReason.MALFORMED, reason="frame is not masked")
            self.deaf = True

    def is_gone(self, _: None) -> None:
        self._lose()

    # The server

    def done(self) -> None:
        """Finish the packet in progress."""
        self.busy = False
        self._next()

    def skip(self) -> None:
        self.waiting = [(packet, True) for packet, _ in self.waiting]

    def drop(self) -> None:
        self.waiting = []

    def close(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        self._close(code, cause, reason=reason)
        self._read_on()

    def part(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        if self.open:
            self.open, self.parting, self.cause = False, (code, reason), cause
        self._read_on()

    def _read_on(self) -> None:
        deeds, self._unread = self._unread, []
        for deed, detail in deeds:
            self.client(deed, detail)

    def abort(self, cause: CloseReason) -> None:
        self.cause = self.cause or cause
        self.drop()
        self._lose()

    def wait(self) -> None:
        """Let the time pass that a close frame may remain unanswered, and more than a client has to close first."""
        if self.parting and not self.closed:
            code, reason = self.parting
            self._close(code, CloseReason.TERMINATED, reason=reason)
        elif not self.open:
            self._lose()

    # Both

    def _close(self, code: int, cause: CloseReason, *, answers: bool = False, reason: str = "") -> None:
        if not self.open and self.parting is None:
            return
        self.open, self.parting, self.cause = False, None, self.cause or cause
        if answers or self.sends_close:
            self.code = int(code)
            sent = CloseCode.NORMAL if answers else code
            self.sent.append((Opcode.CLOSE, struct.pack("!H", sent) + reason.encode()))

    def _lose(self) -> None:
        self.open, self.parting, self.closed = False, None, True
        self.cause = self.cause or CloseReason.TRANSPORT_LOST

    def _next(self) -> None:
        if self.waiting and not self.busy:
            self.busy = True
            self.handled.append(self.waiting.pop(0))

    @property
    def ends(self) -> list[str]:
        """What has been told of the end."""
        if not self.closed:
            return []
        return ["lost"] if self.busy else ["lost", "ended"]


class Life(RuleBasedStateMachine):
    """A connection, its client, and the model of both."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.model = Model()
        self.talking = True  # the client may still send
        self.deeds = self.calm = 0
        self.number = 0
        self.frames = Frames()
        self.got: list[tuple[int, bytes]] = []
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self._ours = ours

    @property
    def may_end(self) -> bool:
        """Whether deeds that end the connection may come."""
        return self.deeds >= self.calm

    async def _open(self, ours: socket.socket) -> None:
        self.events = Recorder()
        self.outbox = Outbox(self.loop, 1 << 40, Traffic(), SILENT)
        transport, _ = await self.loop.create_connection(asyncio.Protocol, sock=ours)
        self.connection = Connection(
            self.events, "id", transport, Inbox(self.loop), self.outbox, sends_close=self.model.sends_close
        )
        self.connection.session = cast(Session, object())
        transport.set_protocol(self.connection)
        self.connection.writer.start()

    def _do(self, deed: Callable[[], object]) -> None:
        """Do something within the event loop, and let it have its effects."""
        self.deeds += 1

        async def run() -> None:
            deed()
            await turns(SETTLED)

        self.loop.run_until_complete(run())
        while data := self._read():
            self.got += self.frames.feed(data)

    def _read(self) -> bytes:
        try:
            return self.peer.recv(READ)
        except (BlockingIOError, ConnectionResetError):  # nothing has come, or the server has cut bytes off unread
            return b""

    def _sends(self, data: bytes) -> None:
        with (
            contextlib.suppress(BrokenPipeError, ConnectionResetError)
            if self.model.closed
            else contextlib.nullcontext()
        ):
            self._do(lambda: self.peer.sendall(data))

    @initialize(calm=st.integers(0, 30), sends_close=st.booleans())
    def begins(self, calm: int, sends_close: bool) -> None:
        """Nothing ends the connection before so many deeds: else most lives would be very short. The first packet is
        there: before it a client may send a few frames only."""
        self.calm, self.model.sends_close = calm, sends_close
        self.loop.run_until_complete(self._open(self._ours))
        self.says(1)

    # The client

    @precondition(lambda self: self.talking and len(self.model.waiting) < FEW)
    @rule(count=st.integers(1, 3))
    def says(self, count: int) -> None:
        """Packets in one write."""
        packets = [str(self.number + n) for n in range(count)]
        self.number += count
        for packet in packets:
            self.model.client("says", packet)
        self._sends(b"".join(masked(f"4{packet}") for packet in packets))

    @precondition(lambda self: self.talking)
    @rule(payload=st.binary(max_size=125))
    def pings(self, payload: bytes) -> None:
        self.model.client("pings", payload)
        self._sends(masked(payload, Opcode.PING))

    @precondition(lambda self: self.talking)
    @rule()
    def pongs(self) -> None:
        self._sends(masked("3") + masked("", Opcode.PONG))

    @precondition(lambda self: self.talking and self.may_end)
    @rule(code=st.sampled_from((None, 1000, 1001, 4999)))
    def closes(self, code: int | None) -> None:
        """The client sends nothing behind its close frame."""
        self.talking = False
        self.model.client("closes", code)
        self._sends(closing(code))

    @precondition(lambda self: self.talking and self.may_end)
    @rule()
    def breaks_the_protocol(self) -> None:
        self.model.client("breaks_the_protocol")
        self._sends(unmasked("3"))

    @precondition(lambda self: self.talking and self.may_end)
    @rule()
    def ends_its_side(self) -> None:
        self.talking = False
        self.model.client("is_gone")
        self._do(lambda: self.peer.shutdown(socket.SHUT_WR))

    # The server

    @precondition(lambda self: self.model.busy)
    @rule()
    def handles_a_packet(self) -> None:
        self.model.done()
        self._do(self.events.proceed.release)

    @precondition(lambda self: self.model.waiting)
    @rule()
    def skips_what_waits(self) -> None:
        self.model.skip()
        self._do(self.connection.packets.skip_waiting)

    @precondition(lambda self: self.model.waiting)
    @rule()
    def drops_what_waits(self) -> None:
        self.model.drop()
        self._do(self.connection.packets.drop)

    @rule()
    def reads_no_more(self) -> None:
        self.model.held = True
        self._do(self.connection.reader.hold)

    @precondition(lambda self: self.may_end)
    @rule(code=st.sampled_from((CloseCode.NORMAL, CloseCode.SERVICE_RESTART)))
    def closes_the_connection(self, code: CloseCode) -> None:
        self.model.close(code, CloseReason.DRAINING, "bye")
        self._do(lambda: self.connection.close(code, CloseReason.DRAINING, "bye"))

    @precondition(lambda self: self.may_end)
    @rule()
    def parts(self) -> None:
        """The client may close first."""
        self.model.part(CloseCode.NORMAL, CloseReason.TERMINATED, "adieu")
        self._do(lambda: self.connection.part(CloseCode.NORMAL, CloseReason.TERMINATED, "adieu"))

    @precondition(lambda self: self.may_end)
    @rule()
    def aborts(self) -> None:
        self.model.abort(CloseReason.PING_TIMEOUT)
        self._do(lambda: self.connection.abort(CloseReason.PING_TIMEOUT, "ping timeout"))

    @rule()
    def waits(self) -> None:
        self.model.wait()
        self.loop.run_until_complete(asyncio.sleep(CLOSE_WAIT_S))
        self._do(lambda: None)

    # What must hold after each of these

    @invariant()
    def packets_are_handled_once_and_in_order(self) -> None:
        assert self.events.received_packets == self.model.handled
        assert self.connection.packets.busy == self.model.busy

    @invariant()
    def a_command_is_under_way_while_it_is_handled(self) -> None:
        assert self.outbox.wait.under_way == self.model.busy

    @invariant()
    def the_state_is_the_models(self) -> None:
        assert self.connection.is_open() == self.model.open
        assert (self.connection.cause, self.connection.close_code) == (self.model.cause, self.model.code)
        assert (self.connection.reason is None) == (self.connection.cause is None)

    @invariant()
    def the_end_is_told_once_and_in_order(self) -> None:
        assert self.events.ends == self.model.ends

    @invariant()
    def the_client_gets_its_frames(self) -> None:
        """Pongs in their order, one close frame, and nothing behind it."""
        assert self.got == self.model.sent

    @invariant()
    def nothing_is_kept_for_a_client_that_is_gone(self) -> None:
        assert not self.connection.writer.queued
        assert not self.outbox.congested

    def teardown(self) -> None:
        """Whatever has happened: once closed and unanswered, a connection ends when its last packet is handled."""
        try:
            self.closes_the_connection(CloseCode.NORMAL)
            self.waits()
            self.waits()
            while self.model.busy:
                self.handles_a_packet()
            assert self.events.ends == ["lost", "ended"]
        finally:
            self.peer.close()
            self._end()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(turns(SETTLED))
        self.loop.close()


TestLife = Life.TestCase
# Explaining a failure would trace each line of the event loop, which makes every run slow.
TestLife.settings = settings(
    max_examples=50, stateful_step_count=40, deadline=None, phases=[phase for phase in Phase if phase != Phase.explain]
)
