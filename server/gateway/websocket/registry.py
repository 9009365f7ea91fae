"""Every connection of the event loop, from its handshake until it is forgotten."""

import asyncio
import operator
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.crowds import Crowds, no_bounds
from server.gateway.websocket.events import ConnectionEvents
from server.gateway.websocket.frames import CloseCode, HostilePacket
from server.gateway.websocket.heartbeat import Wheel
from server.gateway.websocket.turn_queue import TurnQueue
from server.gateway.websocket.unconnected import Unconnected
from server.ports.metrics import ConnectionMetrics

CONNECT_WAIT_S = 10.0
"""How long a WebSocket may be open without a session, and without a CONNECT (PROTOCOL.md, "Transport")."""

CONNECT_SWEEP_S = 0.5
"""How often connections that have waited too long for a CONNECT are looked for."""

BEGUN_PER_TURN = 200
"""Commands of all clients that are begun in a turn of the event loop, as they are read: about 5 ms. Further commands go
through their clients' mailboxes."""

ENDS_PER_TURN = 100
"""Connections closed or forgotten in a turn of the event loop, about 4 ms."""

_log = structlog.get_logger("maru.connection")


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The Socket.IO server, as the connections know it."""

    take: Callable[[Connection, str], bool]
    """Begins a command as `ConnectionEvents.take_at_once` does."""

    handle: Callable[[Connection, str], Awaitable[None]]
    """Handles any other packet of a client. May raise `HostilePacket`."""

    lost: Callable[[Connection], None]
    """Is called once for each connection, when its transport is gone."""

    ended: Callable[[Connection], None]
    """Is called once for each connection, after its last packet."""


class Registry(ConnectionEvents[Connection]):
    """Pings connections, closes those that never send a CONNECT, and forgets those that end."""

    def __init__(
        self,
        ping_interval: float,
        ping_timeout: float,
        dispatch: Dispatch,
        metrics: ConnectionMetrics,
        crowds: Crowds | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._metrics = metrics
        self.connections: dict[str, Connection] = {}  # by id, in the order of the handshakes
        # Without a session, and no CONNECT is being judged: the monotonic time limit for the next one, the first first.
        self._crowds = crowds or no_bounds()
        self.unconnected = Unconnected(self._crowds.unconnected)
        self._wheel = Wheel(ping_interval, ping_timeout, time.monotonic)
        self._ends: TurnQueue[Callable[[], None]] = TurnQueue(ENDS_PER_TURN, operator.call)
        self._begun = 0  # commands that were begun in this turn
        self._tasks: set[asyncio.Task[None]] = set()  # the event loop itself keeps only weak references to tasks
        self._forgotten: dict[Connection, asyncio.Future[None]] = {}  # for callers that wait for a connection's end
        self._empty = asyncio.Event()  # set while there is no connection
        self._empty.set()
        self._bound_log = _log.bind()  # bound once: the lazy logger binds itself anew for each line

    async def run(self) -> None:
        """Ping, and close connections without a CONNECT, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wheel.run())
            group.create_task(self._close_late())

    def add(self, connection: Connection) -> None:
        """Begin to ping a connection, and to wait for its CONNECT."""
        self._metrics.opened()
        self._empty.clear()
        self.connections[connection.id] = connection
        self._crowds.open.add(connection.address)
        self.unconnected[connection] = connection.opened_at + CONNECT_WAIT_S
        self._wheel.add(connection)

    def connected(self, connection: Connection) -> None:
        """Stop waiting for the connection's CONNECT: the client has sent it."""
        self.unconnected.pop(connection, None)

    def await_connect(self, connection: Connection) -> None:
        """Wait for a further CONNECT: the last was refused, or the client has left its session. `verdict` says so."""
        self.unconnected.pop(connection, None)
        if connection.is_open():
            self.unconnected[connection] = time.monotonic() + CONNECT_WAIT_S

    def forgotten(self, connection: Connection) -> asyncio.Future[None]:
        """Return a future that is done when the connection, which is among `connections`, is forgotten."""
        return self._forgotten.setdefault(connection, asyncio.get_running_loop().create_future())

    async def empty(self) -> None:
        """Wait until there is no connection."""
        await self._empty.wait()

    # What a connection calls

    def may_begin(self) -> bool:
        """Count the commands of all clients that are begun in a turn of the event loop."""
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._begun += 1
        return self._begun <= BEGUN_PER_TURN

    def _begin_turn(self) -> None:
        self._begun = 0

    def take_at_once(self, connection: Connection, packet: str) -> bool:
        """Begin a command that needs no task. If that fails, close the connection."""
        try:
            return self._dispatch.take(connection, packet)
        except Exception as error:  # noqa: BLE001  # an unexpected error ends this connection and no other
            self._fail(connection, error)
            return True

    async def received(self, connection: Connection, packet: str) -> None:
        """Handle a packet. If that fails, drop the client's other packets and close the connection."""
        try:
            await self._dispatch.handle(connection, packet)
        except HostilePacket as error:
            connection.packets.drop()
            connection.close(error.code, CloseReason.MALFORMED, error.problem)
        except Exception as error:  # noqa: BLE001  # an unexpected error ends this connection and no other
            self._fail(connection, error)

    @staticmethod
    def _fail(connection: Connection, error: Exception) -> None:
        connection.packets.drop()
        _log_failure(connection, error)
        connection.close(CloseCode.INTERNAL_ERROR, CloseReason.INTERNAL_ERROR, "internal error")

    def lost(self, connection: Connection) -> None:
        """Stop pinging the connection and waiting for its CONNECT."""
        self._metrics.closed(connection.cause or CloseReason.TRANSPORT_LOST)
        self._wheel.remove(connection)
        self.unconnected.pop(connection, None)
        self._crowds.open.remove(connection.address)
        self._dispatch.lost(connection)

    def leaving(self, connection: Connection) -> None:
        """Close the transport soon: if thousands of clients leave at once, others get a turn in between."""
        self._ends.put(connection.hang_up)

    def ended(self, connection: Connection) -> None:
        """Forget the connection soon, for the same reason."""
        self._ends.put(partial(self._forget, connection))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a connection's work as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, connection: Connection) -> None:
        try:
            self._dispatch.ended(connection)
        except Exception as error:  # noqa: BLE001  # the connection must be forgotten all the same
            _log_failure(connection, error)
        del self.connections[connection.id]
        if not self.connections:
            self._empty.set()
        if (waiting := self._forgotten.pop(connection, None)) is not None and not waiting.done():
            waiting.set_result(None)
        session = connection.session or connection.former
        self._bound_log.info(
            "connection.closed",
            connection=connection.id,
            session=session and session.id,
            user=session and session.identity.user,
            remote=connection.remote,
            reason=connection.reason,
            code=connection.close_code,
            seconds=round(time.monotonic() - connection.opened_at, 3),
        )

    async def _close_late(self) -> None:
        while True:
            await asyncio.sleep(CONNECT_SWEEP_S)
            self._crowds.sweep()
            now = time.monotonic()
            # In the order of the limits, so the search ends at the first connection that still has time.
            for connection, limit in list(self.unconnected.items()):
                if limit > now:
                    break
                del self.unconnected[connection]
                connection.close(*connection.verdict)


def _log_failure(connection: Connection, error: Exception) -> None:
    """Log an error of the server, with its traceback."""
    session = connection.session
    _log.error("connection.failed", connection=connection.id, user=session and session.identity.user, exc_info=error)
