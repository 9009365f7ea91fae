"""Listening sockets, and what of them matters under a storm of clients."""

import asyncio
import socket

from aiohttp import web

BACKLOG = 4_096
"""Handshakes that may wait to be accepted: in a reconnect storm a lost SYN costs its client 1 to 3 s. The kernel caps
it at net.core.somaxconn."""

SEND_BUFFER_BYTES = 128 * 1024
"""Of the kernel, per connection (it doubles it): what waits for a slow reader waits where it is counted."""

USER_TIMEOUT_MS = 20_000
"""TCP_USER_TIMEOUT: unacknowledged data ends a connection, before the heartbeat's worst case does."""

KEEPALIVE_S = 15.0
"""Of idle HTTP connections; WebSockets are not among them."""


async def listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve `app`; return its runner, which the caller cleans up, and the port. Raises `OSError`.

    No access log: it would print query strings.
    """
    family = (await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))[0][0]
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    bound: int = listener.getsockname()[1]
    return runner, bound
