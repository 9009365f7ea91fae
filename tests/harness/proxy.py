"""A TCP proxy before a server, which can lose or change the bytes that pass."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

CHUNK = 65_536


class Relay:
    """A connection through a proxy. Subclasses change the bytes of each read; this class passes them on."""

    def from_client(self, chunk: bytes) -> bytes:
        """Return the bytes for the server."""
        return chunk

    def from_server(self, chunk: bytes) -> bytes:
        """Return the bytes for the client."""
        return chunk


class Proxy:
    """Forwards 127.0.0.1:`port` to `upstream_port` of the same host. Use as an async context manager.

    `relay` makes the relay of each connection. While `swallowing`, the server's bytes reach no client, as on a dying
    network; the clients' bytes still reach the server. Those of the server arrive `delay_s` late.
    """

    def __init__(self, upstream_port: int, relay: Callable[[], Relay] = Relay, delay_s: float = 0.0) -> None:
        self.swallowing = False
        self._delay_s = delay_s
        self.port = 0
        self.upstream_port, self._relay = upstream_port, relay
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """Cut every connection; new ones are served."""
        for task in self._tasks:
            task.cancel()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._join_up(reader, writer)
        writer.transport.abort()

    async def _join_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until either side is gone, then cut both."""
        relay = self._relay()
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)

        def from_server(chunk: bytes) -> bytes:
            return b"" if self.swallowing else relay.from_server(chunk)

        ways = (
            asyncio.create_task(_forward(reader, up_writer, relay.from_client)),
            asyncio.create_task(_forward(up_reader, writer, from_server, self._delay_s)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up_writer.transport.abort()  # at once: the wait below may be cancelled
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, goes_on: Callable[[bytes], bytes], delay_s: float = 0.0
) -> None:
    while chunk := await reader.read(CHUNK):
        await asyncio.sleep(delay_s)
        writer.write(goes_on(chunk))
        await writer.drain()
