"""The Engine.IO server (protocol revision 4), WebSocket only, under python-socketio.

aiohttp routes and parses the handshake; a `Connection` then takes its transport over, and aiohttp's request handler,
its task and its buffers are let go. One of the files that touch the internals of aiohttp and engineio: both are
pinned, and tests/integration holds this file against the real libraries.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import engineio
import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage

from server.domain.limits import MAX_PAYLOAD
from server.domain.outcomes import CloseReason, DrainEnd
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.connection import Connection, Inbox
from server.gateway.websocket.frames import CloseCode, frame
from server.gateway.websocket.handshake import Gate, accepted
from server.gateway.websocket.heartbeat import Wheel
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import Metrics, Traffic

CONNECT_WAIT_S = 10.0
"""How long a WebSocket may be open without a CONNECT (PROTOCOL.md, "Transport")."""

CONNECT_SWEEP_S = 0.5
"""How often those that are late are looked for."""

ANSWERED_LOOK_S = 0.01
"""How often a connection that is to be closed is looked at, until what has been read of it is answered."""

ENDS_PER_TURN = 100
"""Connections closed or forgotten in one go, some 4 ms."""

_log = structlog.get_logger("maru.connection")


class Gone(web.Response):
    """What the handler returns once the transport has another owner: nothing is written."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no status line."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


class Engine(engineio.AsyncServer):
    """Accepts handshakes, owns the connections, beats their heart. `sockets` are the connections by id."""

    def __init__(
        self,
        *,
        allowed_origins: Sequence[str] = ("*",),
        admission: Admission,
        max_outbound: int,
        metrics: Metrics,
        traffic: Traffic,
        **options: Any,
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            transports=["websocket"],
            max_http_buffer_size=MAX_PAYLOAD,
            monitor_clients=False,
            cors_allowed_origins=[],
            **options,
        )
        self._wheel = Wheel(self.ping_interval, self.ping_timeout, time.monotonic)
        self._unconnected: dict[Connection, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # A server is built within its loop.
        self.outbox = Outbox(asyncio.get_running_loop(), max_outbound, traffic, metrics)
        self._metrics = metrics
        self._gate = Gate(allowed_origins, admission)
        self._inbox = Inbox(asyncio.get_running_loop())
        self._one_gone = asyncio.Event()
        self._goodbyes: dict[str, asyncio.Future[None]] = {}
        self._closing = False
        self._steps: deque[Callable[[], None]] = deque()
        self._lines = _log.bind()  # made once: the logger above makes one for each line

    async def run(self) -> None:
        """Beat the heart and close those that never CONNECT, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wheel.run())
            group.create_task(self._close_late())

    # Handshake

    def arrive(self, transport: asyncio.Transport, request: RawRequestMessage, tail: bytes) -> bool:
        """Open a WebSocket at once, or send its client away for now. False where something is wrong with the request by
        itself: aiohttp is to answer that, and keeps the connection."""
        if self._gate.fault(request) is not None:
            return False
        busy = self._gate.busy(closing=self._closing)
        if busy is None:
            self._open(transport, request, tail)
        else:
            self._metrics.refused(busy.reason)
            transport.write(busy.written())
            transport.close()
        return True

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the Socket.IO path that aiohttp has read: 101 and the transport is ours, or a refusal."""
        message = request._message
        refused = self._gate.judge(message, closing=self._closing)
        if refused is not None:
            self._metrics.refused(refused.reason)
            return refused.answer()
        transport, handler = request.transport, request.protocol
        if transport is not None and not transport.is_closing():
            self._open(transport, message, self._take_from(handler))
        return Gone()

    def _open(self, transport: asyncio.Transport, request: RawRequestMessage, tail: bytes) -> None:
        """Make a connection the transport's protocol, say the 101 and OPEN, and read what came behind the request."""
        connection = Connection(self, self.generate_id(), transport, self._inbox, self.outbox, _remote(transport))
        self._metrics.opened()
        self.sockets[connection.sid] = connection
        self._unconnected[connection] = connection.opened_at + CONNECT_WAIT_S
        self._wheel.add(connection)
        transport.set_protocol(connection)
        connection.start()
        connection.send_now(accepted(request.headers[hdrs.SEC_WEBSOCKET_KEY], self._opening(connection.sid)))
        if not transport.is_reading():  # aiohttp pauses a client that sends much before the 101
            transport.resume_reading()
        if tail:
            connection.data_received(tail)

    def _opening(self, sid: str) -> bytes:
        """The frame of Engine.IO's OPEN packet."""
        opening = {
            "sid": sid,
            "upgrades": [],
            "pingInterval": round(self.ping_interval * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": MAX_PAYLOAD,
        }
        return frame(b"0" + orjson.dumps(opening))

    @staticmethod
    def _take_from(handler: Any) -> bytes:
        """Let aiohttp's handler believe that its connection is lost; return what it has read beyond the request."""
        tail: bytes = handler._message_tail
        handler._message_tail = b""
        handler.transport = None
        handler.connection_lost(None)
        return tail

    # The connections' host

    async def received(self, connection: Connection, packet: str) -> None:
        """Hand a Socket.IO packet to python-socketio; of a client that has left meanwhile, too: it was sent before."""
        await self.handlers["message"](connection.sid, packet)

    def connected(self, connection: Connection) -> None:
        """Note that the client's CONNECT has come: it is not late any more."""
        self._unconnected.pop(connection, None)

    def lost(self, connection: Connection) -> None:
        """Stop pinging and waiting for the connection."""
        self._metrics.closed(connection.cause or CloseReason.TRANSPORT_LOST)
        self._wheel.remove(connection)
        self._unconnected.pop(connection, None)

    def leaving(self, connection: Connection) -> None:
        """Close a connection whose client is gone, soon: when thousands go at once, others get a turn in between."""
        self._in_turn(connection.hang_up)

    def ended(self, connection: Connection) -> None:
        """Forget the connection, likewise soon."""
        self._in_turn(partial(self._forget, connection))

    def _in_turn(self, step: Callable[[], None]) -> None:
        if not self._steps:
            asyncio.get_running_loop().call_soon(self._take_steps)
        self._steps.append(step)

    def _take_steps(self) -> None:
        try:
            for _ in range(min(len(self._steps), ENDS_PER_TURN)):
                self._steps[0]()
                self._steps.popleft()  # now, so that who comes meanwhile does not schedule this once more
        except Exception as error:  # noqa: BLE001  # one end that fails must not keep the others from theirs
            self._steps.popleft()
            _log.error("step.failed", exc_info=error)
        if self._steps:
            asyncio.get_running_loop().call_soon(self._take_steps)

    def _forget(self, connection: Connection) -> None:
        """Let python-socketio clean up, then forget the connection and write its one line."""
        try:
            self.handlers["disconnect"](connection.sid, connection.reason)
        except Exception as error:  # noqa: BLE001  # a fault here must not leave a zombie
            self.failed(connection, error)
        finally:
            self.sockets.pop(connection.sid, None)
            self._one_gone.set()
            goodbye = self._goodbyes.pop(connection.sid, None)
            if goodbye is not None and not goodbye.done():
                goodbye.set_result(None)
        self._lines.info(
            "connection.closed",
            connection=connection.sid,
            session=connection.member,
            user=connection.user,
            remote=connection.remote,
            reason=connection.reason,
            code=connection.close_code,
            seconds=round(time.monotonic() - connection.opened_at, 3),
        )

    def failed(self, connection: Connection, error: Exception) -> None:
        """Log a fault of ours with its traceback."""
        _log.error("connection.failed", connection=connection.sid, user=connection.user, exc_info=error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a connection's work; the set keeps the task alive and lets a stop wait for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """Write a packet to a connection, if it is still there; engineio's seam."""
        connection = self.sockets.get(sid)
        if connection is not None:
            await connection.send(pkt)

    # Ending

    async def disconnect(self, sid: str | None = None) -> None:
        """Close one connection; engineio's seam."""
        connection = self.sockets.get(sid)
        if connection is not None:
            connection.close(CloseCode.NORMAL, CloseReason.TERMINATED, "server disconnect")

    def shut(self) -> list[str]:
        """Answer further handshakes with 503, close what has not sent CONNECT yet, return the other connections."""
        self._closing = True
        for connection in list(self._unconnected):
            self._unconnected.pop(connection, None)
            connection.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "server restarts")
        return [sid for sid, connection in self.sockets.items() if connection.is_open()]

    async def end(self, sid: str, answer_s: float, close_s: float) -> DrainEnd:
        """Answer what has been read from a client, tell it to come back (1012), wait for it to go, else cut it off."""
        connection = self.sockets.get(sid)
        if connection is None or not connection.is_open():
            return DrainEnd.LEFT
        gone = self._goodbyes[sid] = asyncio.get_running_loop().create_future()
        connection.stop_reading()
        await self._answered(connection, answer_s / 2)
        connection.drop_mailbox()  # too much for the time: but the one that is being done is still answered
        await self._answered(connection, answer_s / 2)
        if not connection.is_open():
            return DrainEnd.LEFT
        connection.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "server restarts")
        await asyncio.wait((gone,), timeout=close_s)
        if gone.done():
            return DrainEnd.CLOSED
        connection.abort(CloseReason.SERVER_STOPPED, "server stopped")
        return DrainEnd.ABORTED

    async def _answered(self, connection: Connection, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        # A look now and then, by the few that are being closed, and no event that every packet would have to set.
        while connection.busy and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(ANSWERED_LOOK_S)

    async def gone(self, within_s: float) -> bool:
        """Wait until there is no connection, at most so long; return whether that is so."""
        if self.sockets and within_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._all_gone()
        return not self.sockets

    def abort(self) -> list[str]:
        """Cut off every connection that is left, and return them."""
        left = dict(self.sockets)
        for connection in left.values():
            connection.abort(CloseReason.SERVER_STOPPED, "server stopped")
        return list(left)

    async def _all_gone(self) -> None:
        while self.sockets:
            self._one_gone.clear()
            await self._one_gone.wait()

    async def _close_late(self) -> None:
        while True:
            await asyncio.sleep(CONNECT_SWEEP_S)
            now = time.monotonic()
            # In the order of their handshakes, so the first that is in time ends the search.
            for connection, deadline in list(self._unconnected.items()):
                if deadline > now:
                    break
                del self._unconnected[connection]
                connection.close(CloseCode.POLICY_VIOLATION, CloseReason.NO_CONNECT, "no CONNECT in time")


def _remote(transport: asyncio.Transport) -> str | None:
    """The peer's address, without its port; None where it is gone already."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else None
