"""Listening sockets, with the options that matter in a storm of clients."""

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from server.api.handler import Handler, Http, without_name
from server.domain.limits import MAX_HEADER_BYTES

BACKLOG = 4_096
"""Handshakes that may wait to be accepted: in a reconnect storm a lost SYN costs its client 1 to 3 s. The kernel caps
it at net.core.somaxconn."""

SEND_BUFFER_BYTES = 128 * 1024
"""The kernel's send buffer of each connection (the kernel doubles it). Small, so that bytes for a slow reader wait in
this process, where they are counted."""

USER_TIMEOUT_MS = 20_000
"""TCP_USER_TIMEOUT: data that is unacknowledged for this long ends a connection, before the heartbeat's worst case."""

KEEPALIVE_S = 15.0
"""An HTTP connection that is idle for this long is closed; WebSockets are not among these."""

LAST_ANSWERS_S = 0.1
"""Time for requests under way when the listeners close: this long to be answered, and again this long to end if they
are not. A half-sent request can't be answered any more, and the stores need the rest of the time."""

ACCEPTS_PER_LOOK = 4
"""Connections that asyncio accepts in one turn; it tells their protocols three turns later. uvloop accepts all that are
there, and closes those for which it has no descriptor."""

OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors of `accept` after which the next one fails, too."""

ACCEPT_RETRY_S = 0.5
"""Time without a further try after such an error. The event loop looks at the socket again after a second."""

NO_LOG: Any = None
"""aiohttp takes it for "no access log", though its annotation does not say so."""


class Listener(socket.socket):
    """A listening socket that fails once for each look of the event loop if there are no descriptors.

    asyncio tries to accept several connections at each look, and logs each failure
    (`BaseSelectorEventLoop._accept_connection`). uvloop does not call `accept`.
    """

    def __init__(self, opened: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(opened.family, opened.type, opened.proto, opened.detach())
        self._clock = clock
        self._retry_at = 0.0  # on the clock

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. For a moment after a failure there seems to be none."""
        if self._clock() < self._retry_at:
            raise BlockingIOError(errno.EAGAIN, "out of descriptors a moment ago")
        try:
            return super().accept()
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                self._retry_at = self._clock() + ACCEPT_RETRY_S
            raise


Handlers = Callable[[], asyncio.Protocol]
"""Makes the protocol of a new connection."""


def itself(handlers: Handlers) -> Handlers:
    """Return the handlers as they are."""
    return handlers


class Listeners:
    """All listening sockets of this process. An async context manager: leaving it closes all of them at once, within
    twice `LAST_ANSWERS_S`, whatever the peers do."""

    def __init__(self) -> None:
        self._listening: list[asyncio.Server] = []  # closed first: no further connections
        self._runners: list[web.AppRunner] = []  # closed second: they end the HTTP connections that are left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for listening in self._listening:
            listening.close()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))

    async def listen(
        self, app: web.Application, host: str, port: int, http: Http, before: Callable[[Handlers], Handlers] = itself
    ) -> int:
        """Serve `app`; return the port. Raises `OSError`.

        `http` counts the connections that aiohttp handles. `before` may put another protocol in front of aiohttp's.
        There is no access log: it would print query strings.
        """
        loop = asyncio.get_running_loop()
        listener = await _bind(host, port)
        app.on_response_prepare.append(without_name)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=LAST_ANSWERS_S)
        await runner.setup()
        self._runners.append(runner)
        server = runner.server
        assert server is not None
        handlers = before(
            lambda: Handler(
                http,
                server,
                loop=loop,
                access_log=NO_LOG,
                keepalive_timeout=KEEPALIVE_S,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                auto_decompress=False,  # a body is dropped, or is a small one of a backend
            )
        )
        self._listening.append(await loop.create_server(handlers, sock=listener, backlog=ACCEPTS_PER_LOOK))
        listener.listen(BACKLOG)  # asyncio has one number for both
        bound: int = listener.getsockname()[1]
        return bound


async def _bind(host: str, port: int) -> Listener:
    """Listen on one address. `::`, every address of IPv6, takes IPv4 too, where the system can."""
    loop = asyncio.get_running_loop()
    family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    listener = Listener(socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    return listener
