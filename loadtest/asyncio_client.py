"""A session on asyncio: the socket, and nothing else."""

import asyncio
import socket
import ssl
from typing import Protocol, cast

from loadtest.frames import WireError, closing
from loadtest.session import Session
from loadtest.target import Target, reset_on_close
from loadtest.traffic import Closed, Refused

IP_BIND_ADDRESS_NO_PORT = 24
"""Linux: choose the port at `connect`, not at `bind`, so that a source's ports are counted per target."""


class Owner(Protocol):
    """Is told of the client's end."""

    def lost(self, client: "AsyncioClient", problem: Exception | None) -> None:
        """Note that a connection has ended that had been ready; `problem` is None if the client dropped it itself."""


class AsyncioClient(asyncio.Protocol):
    """Carries a session's bytes. `heard_at` is the time of the server's last bytes, by the loop's clock."""

    def __init__(self, number: int, session: Session, owner: Owner) -> None:
        self.number = number
        self.session = session
        self.heard_at = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._entered: asyncio.Future[None] | None = None
        self._problem: Exception | None = None
        self._willing = self._inside = False

    async def enter(self, target: Target, tls: ssl.SSLContext | None) -> None:
        """Connect; return when the session is ready. If cancelled, it leaves no connection behind.

        Raises `Refused`, `Closed`, `WireError`, `OSError`.
        """
        self._problem, self._willing, self._inside = None, False, False
        self._entered = self._loop.create_future()
        try:
            await self._connect(target, tls)
            await self._entered
        except BaseException:
            self.drop()
            raise
        finally:
            self._entered = None

    async def _connect(self, target: Target, tls: ssl.SSLContext | None) -> None:
        source = target.source(self.number)
        if source is None:
            await self._loop.create_connection(lambda: self, target.host, target.port, ssl=tls)
            return
        plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            plug.setblocking(False)
            plug.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            plug.bind((source, 0))
            await self._loop.sock_connect(plug, (target.host, target.port))
            await self._loop.create_connection(lambda: self, sock=plug)
        except BaseException:
            plug.close()
            raise

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        if self._transport is not None:
            self._transport.write(data)

    def drop(self) -> None:
        """Vanish without a goodbye: reset TCP."""
        self._willing = True
        if self._transport is not None:
            reset_on_close(self._transport.get_extra_info("socket"))
            self._transport.abort()

    def entered(self) -> None:
        """Note that the session is ready."""
        if self._entered is not None and not self._entered.done():
            self._inside = True
            self._entered.set_result(None)

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.heard_at = self._loop.time()
        self._transport.write(self.session.dial())

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to the session, and write its answer."""
        assert self._transport is not None
        if self._problem is not None:
            return
        self.heard_at = self._loop.time()
        try:
            answer = self.session.hear(data)
        except (Refused, WireError) as problem:
            self._problem = problem
            self._transport.abort()
        except Closed as problem:
            self._problem = problem
            self._transport.write(closing(problem.code if problem.code != 1005 else 1000))
            self._transport.close()
        else:
            if answer:
                self._transport.write(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session, and the caller of `enter` or the owner."""
        self._transport = None
        self.session.hang_up()
        problem = self._problem or exc or Closed(1006)
        if self._entered is not None and not self._entered.done():
            self._entered.set_exception(problem)
        elif self._inside:
            self._inside = False
            self._owner.lost(self, None if self._willing else problem)
