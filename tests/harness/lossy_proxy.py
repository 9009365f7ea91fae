"""A TCP proxy before the server that can lose the server's answers, as a dying network does."""

import asyncio
import contextlib
from typing import Self

CHUNK = 65_536


class LossyProxy:
    """Forwards 127.0.0.1:`port` to a port of the same host. Use as an async context manager.

    While `swallowing`, what the server says reaches nobody; what clients say still reaches the server.
    """

    def __init__(self, upstream_port: int) -> None:
        self.swallowing = False
        self.port = 0
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            ways = (
                asyncio.create_task(self._forward(reader, up_writer, lossy=False)),
                asyncio.create_task(self._forward(up_reader, writer, lossy=True)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            up_writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lossy: bool) -> None:
        while chunk := await reader.read(CHUNK):
            if not (lossy and self.swallowing):
                writer.write(chunk)
                await writer.drain()
