"""The first read of a connection: a complete handshake is accepted, everything else reaches the fallback untouched."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from server.domain.outcomes import Refusal
from server.gateway.websocket.capacity import ANSWERED, Capacity
from server.gateway.websocket.first_read import AcceptQueue, FirstRead
from server.gateway.websocket.handshake import Handshake
from server.gateway.websocket.plain_handshake import PlainHandshake
from server.gateway.websocket.refusals import Refused, too_many
from server.gateway.websocket.visits import Leave
from tests.clients.raw import handshake
from tests.doubles.metrics import RecordingMetrics

DEADLINE_S = 5.0
UPGRADE = b"Host: maru\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HANDSHAKE = b"GET /socket.io/?EIO=4 HTTP/1.1\r\n" + UPGRADE


class Fallback(asyncio.Protocol):
    """The protocol behind the queue. It answers with all that it has received."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"fallback: " + data)
        self._transport.close()


class House:
    """A queue behind a listening socket, and what it has accepted: path and bytes behind the request."""

    def __init__(self, accepts: bool, limit: int = 100) -> None:
        self._accepts = accepts
        self.inside = 0
        self.most = 100
        self.metrics = RecordingMetrics()
        self.capacity = Capacity(limit, lambda: 0, self.metrics, lambda: 0.0)
        self.queue = AcceptQueue(self._accept, Fallback, self.capacity, self._enter)
        self.offered: list[str] = []  # their paths, or that they were read as plain
        self.accepted: list[tuple[str, bytes]] = []
        self.address: tuple[str, int] = ("", 0)

    def _enter(self, transport: asyncio.BaseTransport) -> Leave | Refused:
        assert transport.get_extra_info("socket") is not None
        if self.inside == self.most:
            return too_many(1.0, "too many", "")
        self.inside += 1
        return self._leave

    def _leave(self) -> None:
        self.inside -= 1

    def _accept(self, transport: asyncio.Transport, request: Handshake, tail: bytes) -> bool:
        self.offered.append("plain" if isinstance(request, PlainHandshake) else request.path)
        if self._accepts:
            self.accepted.append((self.offered[-1], tail))
            if b"fault" in tail:
                raise LookupError("a fault of ours")
            transport.write(b"accepted: " + tail)
            transport.close()
        return self._accepts

    async def answer(self, sent: bytes) -> bytes:
        """Send bytes in one piece; return the whole answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(sent)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def house(accepts: bool = True, limit: int = 100) -> AsyncIterator[House]:
    """A house that accepts every complete handshake, or none, of `limit` clients at once."""
    loop, it = asyncio.get_running_loop(), House(accepts, limit)
    async with await loop.create_server(it.queue.make_protocol, "127.0.0.1", 0) as server:
        it.address = server.sockets[0].getsockname()
        yield it


async def test_a_complete_handshake_is_accepted() -> None:
    """With the bytes behind it, which are the client's first frames."""
    async with house() as it:
        assert await it.answer(HANDSHAKE + b"\x81\x00") == b"accepted: \x81\x00"
        assert it.accepted == [("/socket.io/?EIO=4", b"\x81\x00")]


@pytest.mark.parametrize(
    "read",
    [
        b"GET /affinity HTTP/1.1\r\n" + UPGRADE,
        b"POST /socket.io/?EIO=4 HTTP/1.1\r\n" + UPGRADE,
        b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: maru\r\n\r\n",
        b"GET /socket.io/?EIO=4 HTTP/1.1\r\nContent-Length: 4\r\n" + UPGRADE + b"body",
        b"GET /socket.io/?EIO=4 HTTP/1.1\r\nno colon\r\n\r\n",
        HANDSHAKE[:20],
        b"\r\n\r\n",
    ],
    ids=["another path", "another method", "no upgrade", "a body", "malformed", "half of it", "no request"],
)
async def test_anything_else_reaches_the_fallback(read: bytes) -> None:
    """Byte for byte, and nothing is accepted."""
    async with house() as it:
        assert await it.answer(read) == b"fallback: " + read
        assert it.accepted == []


async def test_a_request_that_is_not_accepted_reaches_the_fallback() -> None:
    """A handshake with a fault of its own is aiohttp's to answer."""
    async with house(accepts=False) as it:
        assert await it.answer(HANDSHAKE) == b"fallback: " + HANDSHAKE


async def test_a_plain_handshake_is_offered_without_a_parser() -> None:
    """If it is not accepted so, it is parsed, and then it is aiohttp's to answer."""
    async with house() as it:
        assert await it.answer(handshake() + b"\x81\x00") == b"accepted: \x81\x00"
        assert it.offered == ["plain"]
    async with house(accepts=False) as it:
        request = handshake()
        assert await it.answer(request) == b"fallback: " + request
        assert it.offered == ["plain", "/socket.io/?EIO=4&transport=websocket"]


async def test_a_fault_ends_its_own_connection_only() -> None:
    """An error while one handshake is accepted aborts that connection and is logged; the others are accepted."""
    async with house() as it:
        with capture_logs() as lines:
            answers = await asyncio.gather(*(it.answer(HANDSHAKE + tail) for tail in (b"a", b"fault", b"b")))
        assert answers == [b"accepted: a", b"", b"accepted: b"]
        assert [line["event"] for line in lines] == ["first_read.failed"]


@asynccontextmanager
async def connected(queue: AcceptQueue) -> AsyncIterator[tuple[asyncio.Transport, FirstRead]]:
    """A connection whose reads the test makes itself."""
    ours, theirs = socket.socketpair()
    with theirs:
        transport, protocol = await asyncio.get_running_loop().create_connection(queue.make_protocol, sock=ours)
        yield transport, protocol
        transport.abort()


async def test_bytes_that_come_while_queued_are_kept() -> None:
    """They are handed on behind the first read, and reading pauses until then."""
    async with house() as it, connected(it.queue) as (transport, first_read):
        first_read.data_received(HANDSHAKE)
        first_read.data_received(b"more")
        assert not transport.is_reading()
        await asyncio.sleep(0)
        assert it.accepted == [("/socket.io/?EIO=4", b"more")]


async def test_a_client_that_has_gone_is_not_parsed() -> None:
    """A connection that ends before its turn is neither accepted nor handed to the fallback."""
    async with house() as it, connected(it.queue) as (transport, first_read):
        first_read.data_received(HANDSHAKE)
        transport.abort()
        await asyncio.sleep(0)
        assert it.accepted == []


async def test_a_connection_without_room_is_answered_503() -> None:
    """Whatever it asks for, and a plain handshake, too: a proxy then asks another replica."""
    async with house(limit=1) as it, connected(it.queue):
        for sent in (handshake(), b"GET /session HTTP/1.1\r\n\r\n", b"x"):
            answer = await it.answer(sent)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: " in answer
        assert it.offered == []
        assert it.metrics.of("refused") == [(Refusal.CONNECTIONS,)] * 3


async def test_connections_beyond_those_that_are_answered_are_closed() -> None:
    """A crowd without room costs a bounded number of descriptors, and one line."""
    with capture_logs() as lines:
        async with house(limit=1) as it, AsyncExitStack() as crowd:
            await crowd.enter_async_context(connected(it.queue))
            for _ in range(ANSWERED):
                waiting, _ = await crowd.enter_async_context(connected(it.queue))
                assert not waiting.is_closing()
            further, _ = await crowd.enter_async_context(connected(it.queue))
            assert further.is_closing()
    assert lines == [{"event": "connections.full", "limit": 1, "refused": 1, "log_level": "warning"}]


async def test_room_that_is_given_up_is_found_again() -> None:
    """By a client that goes silent, one that is handed on, and one that a fault ends."""
    async with house(limit=1) as it:
        async with connected(it.queue) as (transport, _):
            transport.abort()
            await asyncio.sleep(0)
        assert await it.answer(HANDSHAKE) == b"accepted: "
        assert await it.answer(HANDSHAKE + b"fault") == b""
        assert await it.answer(b"\r\n\r\n") == b"fallback: \r\n\r\n"
        assert await it.answer(HANDSHAKE) == b"accepted: "


async def test_a_connection_is_counted_until_it_is_something_else() -> None:
    """Or gone; one too many is answered, and takes no room."""
    async with house() as it:
        it.most = 1
        async with connected(it.queue) as (transport, _):
            assert it.inside == 1
            assert (await it.answer(b"")).startswith(b"HTTP/1.1 429 ")
            transport.abort()
            await asyncio.sleep(0)
        assert it.inside == 0
        assert await it.answer(HANDSHAKE) == b"accepted: "
        assert await it.answer(HANDSHAKE + b"fault") == b""
        assert await it.answer(b"\r\n\r\n") == b"fallback: \r\n\r\n"
        assert it.inside == 0
        assert it.metrics.of("refused") == []
