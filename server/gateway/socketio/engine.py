"""The Engine.IO server (protocol revision 4), WebSocket only, under python-socketio.

A handshake comes either from the first read (`accept`) or, behind another request on its HTTP connection, from aiohttp
(`handle_request`). In both cases a `Connection` becomes the transport's protocol. aiohttp's request handler, its task
and its buffers are then released.

This file uses private members of aiohttp and engineio. Both are pinned, and tests/integration holds this file against
the real libraries.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import engineio
import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from server.domain.limits import MAX_PAYLOAD
from server.domain.outcomes import CloseReason
from server.domain.proxies import NOBODY, Client
from server.gateway.socketio.ids import RandomIds
from server.gateway.websocket import refusals
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode, frame
from server.gateway.websocket.handshake import (
    Handshake,
    HandshakeChecks,
    accepted,
    forwarded_for,
    key_of,
    never,
    notices_close,
)
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.refusal_log import RefusalLog
from server.gateway.websocket.registry import Dispatch, Registry
from server.ports.metrics import ConnectionMetrics


class Gone(web.Response):
    """The response of a handler whose transport has been taken over: it writes nothing."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no status line."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


class Engine(engineio.AsyncServer):
    """Accepts handshakes, and opens connections."""

    sockets: dict[str, Connection]

    def __init__(
        self,
        *,
        allowed_origins: Sequence[str] = ("*",),
        admission: Admission,
        busy: Callable[[], bool] = never,
        outbox: Outbox,
        metrics: ConnectionMetrics,
        dispatch: Dispatch,
        development: bool = False,
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
        loop = asyncio.get_running_loop()
        self._outbox = outbox  # frames that wait to be written to all connections
        self.crowds = admission.crowds
        self.registry = Registry(self.ping_interval, self.ping_timeout, dispatch, metrics, self.crowds)
        self.sockets = self.registry.connections  # engineio's name for them
        self.closing = False  # whether every further handshake is answered with 503
        self._checks = HandshakeChecks(allowed_origins, admission, busy)
        self.refusals = RefusalLog(metrics, development=development)
        self._inbox = Inbox(loop)  # where frame readers put messages; shared, since reading never waits
        self._ids = RandomIds()
        terms = {
            "upgrades": [],
            "pingInterval": round(self.ping_interval * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": MAX_PAYLOAD,
        }
        self._terms = orjson.dumps(terms)[1:]  # what an OPEN says behind the connection's id

    def generate_id(self) -> str:
        """Make the id of a connection or of a session."""
        return self._ids.new()

    # Handshake

    def accept(self, transport: asyncio.Transport, request: Handshake, tail: bytes) -> bool:
        """Open a WebSocket, or answer 503 and close the transport.

        Returns False, and does nothing, if the request itself is invalid: aiohttp answers it and keeps the transport.
        """
        if self._checks.fault(request) is not None:
            return False
        client = self._client(transport, request)
        refused = self._checks.too_fast(client) or self._checks.overload(request, client, closing=self.closing)
        if refused is None:
            self._open(transport, request, client, tail)
        else:
            self.refusals.add(refused, client.address)
            transport.write(refused.written())
            transport.close()
        return True

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that aiohttp has parsed: open a WebSocket on its transport, or refuse it."""
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            return refusals.preflight()  # else a page with headers of its own would not be told why it is refused
        message = request._message  # the parser's own object, as `accept` gets it: `Request` has no public way to it
        transport, handler = request.transport, request.protocol
        client = NOBODY if transport is None else self._client(transport, message)
        refused = (
            self._checks.too_fast(client)  # first: a flood of requests that are wrong must not cost more than others
            or self._checks.fault(message)
            or self._checks.overload(message, client, closing=self.closing)
        )
        if refused is not None:
            self.refusals.add(refused, client.address)
            return refused.answer()
        if transport is not None and not transport.is_closing():
            self._open(transport, message, client, self._take_from(handler))
        return Gone()

    @web.middleware
    async def refuse_elsewhere(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell a client that looks for the server at a wrong path."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            if hdrs.UPGRADE not in request.headers and "EIO" not in request.query:
                raise
            self.refusals.add(refusals.other_path(), request.remote)
            return refusals.other_path().answer()

    def wait_s(self, request: web.Request) -> float:
        """Count another request of a client in the bounds of handshakes: return the seconds that it has to wait."""
        transport, message = request.transport, request._message  # as above
        client = NOBODY if transport is None else self._client(transport, message)
        return self._checks.wait_s(message, client)

    def refuse_unreadable(self, remote: str | None) -> None:
        """Tell of a request that aiohttp could not parse: whether it was a handshake is not known."""
        self.refusals.add(refusals.unreadable(), remote)

    def _client(self, transport: asyncio.Transport, request: Handshake) -> Client:
        peer = transport.get_extra_info("peername")
        return self.crowds.client(str(peer[0]) if peer else None, lambda: forwarded_for(request))  # none: it is gone

    def _open(self, transport: asyncio.Transport, request: Handshake, client: Client, tail: bytes) -> None:
        """Make a connection the transport's protocol, write the 101 and OPEN, and read the bytes behind the request."""
        connection = Connection(
            self.registry,
            self.generate_id(),
            transport,
            self._inbox,
            self._outbox,
            client,
            sends_close=notices_close(request),
        )
        self.registry.add(connection)
        transport.set_protocol(connection)
        connection.writer.start()
        connection.writer.send_now(accepted(key_of(request), self._opening(connection.id)))
        if not transport.is_reading():  # aiohttp pauses a client that sends much before the 101
            transport.resume_reading()
        if tail:
            connection.data_received(tail)

    def _opening(self, sid: str) -> bytes:
        """Return the frame of Engine.IO's OPEN packet."""
        return frame(b'0{"sid":"%b",%b' % (sid.encode(), self._terms))  # a `sid` has no character to escape

    @staticmethod
    def _take_from(handler: Any) -> bytes:
        """Detach aiohttp's handler from its transport, and return the bytes that it has read beyond the request.

        aiohttp has no public way to do this. To the handler the client seems to have gone away, which it is made for.
        """
        tail: bytes = handler._message_tail
        handler._message_tail = b""
        handler.transport = None
        handler.connection_lost(None)
        return tail

    # What python-socketio calls

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """Write an Engine.IO packet to a connection, if it is still there."""
        connection = self.sockets.get(sid)
        if connection is not None:
            connection.write(frame(pkt.encode().encode()))

    async def disconnect(self, sid: str | None = None) -> None:
        """Close a connection, if it is still there."""
        if sid is not None and sid in self.sockets:
            self.sockets[sid].close(CloseCode.NORMAL, CloseReason.TERMINATED, "server disconnect")
