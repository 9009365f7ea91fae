"""A TCP proxy before the server that knows frames, and lets something happen to them on their way to the client."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from loadtest.frames import Frames
from tests.clients.frames import unmasked

CHUNK = 65_536

Meddle = Callable[[str], list[str]]
"""What becomes of one text frame of the server."""


class MeddlingProxy:
    """Forwards 127.0.0.1 at a port of its own to another port. Use as an async context manager.

    `rule` makes what each connection's frames go through.
    """

    def __init__(self, upstream_port: int, rule: Callable[[], Meddle]) -> None:
        self._upstream_port, self._rule = upstream_port, rule
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._join_up(reader, writer)
        writer.transport.abort()

    async def _join_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until either side is gone, then cut both."""
        upstream, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        ways = (
            asyncio.create_task(self._up(reader, upstream_writer)),
            asyncio.create_task(self._down(upstream, writer)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            upstream_writer.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The head of the HTTP answer goes through; then frame by frame, where control frames are left out."""
        writer.write(await reader.readuntil(b"\r\n\r\n"))
        frames, meddle = Frames(), self._rule()
        while chunk := await reader.read(CHUNK):
            for _, payload in frames.feed(chunk):
                writer.write(b"".join(map(unmasked, meddle(payload.decode()))))
            await writer.drain()
