"""Listening sockets without descriptors, and HTTP connections beyond their bound."""

import asyncio
import contextlib
import errno
import os
import resource
import socket

from aiohttp import web

from server.api.handler import Http
from server.api.listener import ACCEPT_RETRY_S, Listener, Listeners
from server.process import descriptors

DEADLINE_S = 5.0

SPARE = 20
"""Descriptors that are left, and taken one by one."""


def test_a_socket_without_descriptors_fails_once_a_look() -> None:
    """asyncio goes on to accept after a failure, many times: it seems that nobody comes. Later it is tried again."""
    now, limits, taken = 1.0, resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    with Listener(socket.create_server(("127.0.0.1", 0)), lambda: now) as listener:
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname()):
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors.in_use() + SPARE, limits[1]))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.dup(0))
                errors = [_error(listener) for _ in range(3)]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for descriptor in taken:
                    os.close(descriptor)
            assert errors == [errno.EMFILE, errno.EAGAIN, errno.EAGAIN]
            now += ACCEPT_RETRY_S
            assert _error(listener) is None


def _error(listener: Listener) -> int | None:
    try:
        listener.accept()[0].close()
    except OSError as error:
        return error.errno
    return None


async def test_http_connections_are_bounded() -> None:
    """Beyond the bound they are closed unheard; the others are answered, and room that is left is given again."""
    http = Http(2)
    app = web.Application()
    app.add_routes([web.get("/", _answer)])
    async with asyncio.timeout(DEADLINE_S), Listeners() as listeners:
        port = await listeners.listen(app, "127.0.0.1", 0, http)
        first, second, third = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await _read(*third) == b""
        for reader, writer in (first, second):
            assert b" 200 " in await _asked(reader, writer)
        assert http.open == 0
        assert b" 200 " in await _asked(*await asyncio.open_connection("127.0.0.1", port))


async def _answer(_: web.Request) -> web.Response:
    return web.Response()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return await _read(reader, writer)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read up to the end, or a reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
