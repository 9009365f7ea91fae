"""The Engine.IO server (protocol revision 4), WebSocket only, under python-socketio.

aiohttp routes and parses the handshake; a `Connection` then takes its transport over, and aiohttp's request handler,
its task and its buffers are let go. One of the two files that touch the internals of aiohttp and engineio: both are
pinned, and tests/integration holds this file against the real libraries.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import engineio
import orjson
import structlog
from aiohttp import HttpVersion11, web

from server.domain.errors import TokenInQuery
from server.gateway.connection import Connection, Inbox
from server.gateway.frames import frame
from server.gateway.heartbeat import Wheel
from server.gateway.wire import MAX_PAYLOAD, CloseCode

CONNECT_WAIT_S = 10.0
"""How long a WebSocket may be open without a CONNECT (PROTOCOL.md, "Transport")."""

CONNECT_SWEEP_S = 0.5
"""How often those that are late are looked for."""

SETTLE_S = 5.0
"""How long a stop waits for the packets that are being handled."""

GOODBYE_S = 3.0
"""How long a stop waits for the close handshakes; each is bounded by itself too."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
_TOKEN_NAMES = frozenset(
    (
        "token",
        "access_token",
        "id_token",
        "refresh_token",
        "auth",
        "authorization",
        "bearer",
        "jwt",
        "api_key",
        "apikey",
    )
)
_JWT = re.compile(r"eyJ[\w-]+(?:\.|%2E)[\w-]+", re.IGNORECASE)  # the dot encoded twice, too

_log = structlog.get_logger("maru.connection")


class Gone(web.Response):
    """What the handler returns once the transport has another owner: nothing is written."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no status line."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


class Engine(engineio.AsyncServer):
    """Accepts handshakes, owns the connections, beats their heart. `sockets` are the connections by id."""

    def __init__(self, *, allowed_origins: Sequence[str] = ("*",), **options: Any) -> None:
        super().__init__(
            async_mode="aiohttp",
            transports=["websocket"],
            max_http_buffer_size=MAX_PAYLOAD,
            monitor_clients=False,
            cors_allowed_origins=[],
            **options,
        )
        self._origins = None if "*" in allowed_origins else frozenset(allowed_origins)
        self._wheel = Wheel(self.ping_interval, self.ping_timeout, time.monotonic)
        self._unconnected: dict[Connection, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox: Inbox | None = None
        self._one_gone = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Beat the heart and close those that never CONNECT, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wheel.run())
            group.create_task(self._close_late())

    # Handshake

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the Socket.IO path: 101 and the transport is ours, or a refusal."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        transport, handler = request.transport, request.protocol
        if transport is None or transport.is_closing():
            return Gone()
        if self._inbox is None:
            self._inbox = Inbox(asyncio.get_running_loop())
        connection = Connection(self, self.generate_id(), transport, self._inbox, request.remote)
        transport.write(self._accept(request.headers["Sec-WebSocket-Key"], connection.sid))
        self.sockets[connection.sid] = connection
        self._unconnected[connection] = connection.opened_at + CONNECT_WAIT_S
        self._wheel.add(connection)
        self._take_over(handler, transport, connection)
        return Gone()

    def _refusal(self, request: web.Request) -> web.Response | None:
        query = request.query
        for name, value in query.items():
            if name.lower() in _TOKEN_NAMES or _JWT.search(value) or _JWT.search(name):
                error = TokenInQuery("a token stands in the URL; send it in the CONNECT payload, and replace it")
                return _json({"error": {"code": error.code, "message": error.message}}, 400)
        if query.get("transport") != "websocket":
            return _json({"code": 0, "message": "Transport unknown"}, 400)
        if query.get("EIO") != "4":
            return _json({"code": 5, "message": "Unsupported protocol version"}, 400)
        if "sid" in query:
            return _json({"code": 1, "message": "Session ID unknown"}, 400)
        if self._origins is not None and request.headers.get("Origin", "") not in self._origins | {""}:
            return _json({"code": 4, "message": "Forbidden"}, 403)
        opens = request.method == "GET" and request.version >= HttpVersion11
        if not opens or not web.WebSocketResponse(compress=False).can_prepare(request):
            return _json({"code": 3, "message": "Bad request"}, 400)
        if self._closing:
            return _json({"code": 3, "message": "Restarting"}, 503, {"Retry-After": "1", "Connection": "close"})
        return None

    def _accept(self, key: str, sid: str) -> bytes:
        digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
        opening = {
            "sid": sid,
            "upgrades": [],
            "pingInterval": round(self.ping_interval * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": MAX_PAYLOAD,
        }
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n" + frame(b"0" + orjson.dumps(opening))
        )

    def _take_over(self, handler: Any, transport: asyncio.Transport, connection: Connection) -> None:
        """Make the connection the transport's protocol, and let aiohttp's handler believe that its own is lost."""
        tail, handler._message_tail = handler._message_tail, b""
        transport.set_protocol(connection)
        handler.transport = None
        handler.connection_lost(None)
        if not transport.is_reading():  # aiohttp pauses a client that sends much before the 101
            transport.resume_reading()
        if tail:
            connection.data_received(tail)

    # The connections' host

    async def received(self, connection: Connection, packet: str) -> None:
        """Hand a Socket.IO packet to python-socketio; of a client that has left meanwhile, too: it was sent before."""
        await self.handlers["message"](connection.sid, packet)

    def connected(self, connection: Connection) -> None:
        """Note that the client's CONNECT has come: it is not late any more."""
        self._unconnected.pop(connection, None)

    def lost(self, connection: Connection) -> None:
        """Stop pinging and waiting for the connection."""
        self._wheel.remove(connection)
        self._unconnected.pop(connection, None)

    async def ended(self, connection: Connection) -> None:
        """Let python-socketio clean up, then forget the connection and write its one line."""
        try:
            await self.handlers["disconnect"](connection.sid, connection.reason)
        except Exception as error:  # noqa: BLE001  # a fault here must not leave a zombie
            self.failed(connection, error)
        finally:
            self.sockets.pop(connection.sid, None)
            self._one_gone.set()
        _log.info(
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
            connection.close(CloseCode.NORMAL, "server disconnect")

    async def stop(self) -> None:
        """Refuse newcomers, answer what has been read, tell every client to come back (1012), wait for them."""
        self._closing = True
        for connection in list(self.sockets.values()):
            connection.stop_reading()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_S)
        for connection in list(self.sockets.values()):
            connection.close(CloseCode.SERVICE_RESTART, "server restarts")
            connection.drop_mailbox()  # it could not be answered any more
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._all_gone()
        for connection in list(self.sockets.values()):
            connection.abort("server stopped")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

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
                connection.close(CloseCode.POLICY_VIOLATION, "no CONNECT in time")


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers, dumps=lambda value: orjson.dumps(value).decode())
