"""The writing half of a connection, over a real socket: in order, counted while it waits, bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from server.domain.outcomes import CloseReason
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.writer import FLUSH_STEP, FLUSH_WAIT_S, LARGE_ANSWER_BYTES, MAX_OUTBOUND, Writer
from server.ports.metrics import SILENT, Traffic
from tests.doubles.virtual_time import VirtualTimeLoop
from tests.doubles.wired import DEADLINE_S, SEND_BUFFER

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PART = 50_000
"""More than the kernel takes of a client that does not read, in a few writes."""


class Half(asyncio.Protocol):
    """A protocol that has a writer and nothing else."""

    writer: Writer

    def pause_writing(self) -> None:
        self.writer.pause()

    def resume_writing(self) -> None:
        self.writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writer.stop()


class Line:
    """A writer, the other end of its socket, and the reasons with which the client was given up."""

    def __init__(self, transport: asyncio.Transport, peer: socket.socket) -> None:
        self.traffic = Traffic()
        self.outbox = Outbox(asyncio.get_running_loop(), 1 << 40, self.traffic, SILENT)
        self.given_up: list[CloseReason] = []
        self.writer = Writer(transport, self.outbox, self)
        self.transport = transport
        self._peer = peer

    def give_up(self, cause: CloseReason) -> None:
        """Note it; a connection would end."""
        self.given_up.append(cause)

    async def read(self, size: int) -> bytes:
        """Read so many bytes at the client's end."""
        loop, read = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(DEADLINE_S):
            while len(read) < size:
                part = await loop.sock_recv(self._peer, size - len(read))
                assert part
                read += part
        return bytes(read)

    def fill(self) -> int:
        """Write until the kernel takes no more; return the bytes written."""
        written = 0
        while not self.writer.congested:
            written += self.writer.send_now(b"x" * PART)
        return written


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """A line whose client reads nothing by itself."""
    ours, peer = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    peer.setblocking(False)
    with peer:
        transport, half = await asyncio.get_running_loop().create_connection(Half, sock=ours)
        it = Line(transport, peer)
        half.writer = it.writer
        try:
            yield it
        finally:
            transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not it.outbox.congested
            assert it.traffic.outbound_queued_bytes == 0


def on(loop: Callable[[], asyncio.AbstractEventLoop], scenario: Callable[[Line], Coroutine[None, None, None]]) -> None:
    """Run a scenario with a line of its own, on an event loop."""

    async def run() -> None:
        async with line() as it:
            await scenario(it)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_that_reads_is_written_to_directly(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The bytes are with the kernel when the call returns, the queue joined in its order."""

    async def scenario(it: Line) -> None:
        assert it.writer.flush() == 0
        assert it.writer.send_now(b"one ") == 4
        it.writer.queued = [b"two ", b"three"]
        assert it.writer.flush() == 9
        assert not it.writer.queued
        assert (it.writer.congested, it.writer.unsent) == (False, 0)
        assert await it.read(13) == b"one two three"

    on(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_congested_client_is_counted(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """From the first byte that the kernel does not take until it has taken the last one; the order is kept."""

    async def scenario(it: Line) -> None:
        written = it.fill()
        assert it.writer.send_now(b"last") == 4
        assert list(it.outbox.congested) == [it.writer]
        assert it.writer.unsent == it.traffic.outbound_queued_bytes == it.writer.recount() > 4
        assert await it.read(written + 4) == b"x" * written + b"last"
        await it.writer.flushed()
        assert (it.writer.congested, it.writer.unsent, it.traffic.outbound_queued_bytes) == (False, 0, 0)
        assert it.given_up == []

    on(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_that_does_not_read_is_given_up(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As soon as a write would exceed the bound, with what is queued for it; not one byte of that write is accepted."""

    async def scenario(it: Line) -> None:
        it.fill()
        while it.writer.send_now(b"x" * PART):
            assert it.writer.recount() <= MAX_OUTBOUND
        assert it.given_up == [CloseReason.SLOW_READER]
        assert it.writer.recount() + PART > MAX_OUTBOUND

    on(loop, scenario)


async def test_a_count_that_is_too_high_gives_nobody_up() -> None:
    """What the kernel has taken since the last look is subtracted before the client is judged."""
    async with line() as it:
        written = it.fill()
        while written < MAX_OUTBOUND * 2:
            await it.read(PART)
            await asyncio.sleep(0)
            if not it.writer.congested:
                written += it.fill()
            written += it.writer.send_now(b"x" * PART)
        assert it.given_up == []


async def test_the_process_may_need_the_memory() -> None:
    """A dropped client is given up, with another reason."""
    async with line() as it:
        it.fill()
        it.writer.drop()
        assert it.given_up == [CloseReason.MEMORY_CAP]


def waited_for(*, reads: bool) -> list[CloseReason]:
    """Wait for a client that has much to read, and reads more than enough of it in time; return why it was given up."""

    async def scenario(it: Line) -> None:
        it.fill()
        for _ in range(8):
            it.writer.send_now(b"x" * PART)
        flushed = asyncio.create_task(it.writer.flushed())
        while not flushed.done():
            await asyncio.sleep(FLUSH_WAIT_S / 2)
            if reads:
                await it.read(min(2 * FLUSH_STEP, it.writer.unsent))
        given_up.extend(it.given_up)

    given_up: list[CloseReason] = []
    on(VirtualTimeLoop, scenario)
    return given_up


def test_a_client_that_takes_too_little_is_given_up() -> None:
    """One that is waited for must go on reading: slowly is enough, nothing is not."""
    assert waited_for(reads=False) == [CloseReason.SLOW_READER]
    assert waited_for(reads=True) == []


async def test_only_large_answers_are_sent_before_the_turn_ends() -> None:
    """Judged by all that is queued: a page of history is one frame, and many middling answers are as much."""
    async with line() as it:
        it.writer.flush_large()
        it.writer.queued = b"x" * (LARGE_ANSWER_BYTES - 1)
        it.writer.flush_large()
        assert it.writer.queued
        it.writer.queued = [b"small", b"x" * LARGE_ANSWER_BYTES]
        it.writer.flush_large()
        assert not it.writer.queued
        assert it.traffic.sent_bytes == 5 + LARGE_ANSWER_BYTES
        it.writer.queued = [b"x" * (LARGE_ANSWER_BYTES // 2)] * 2
        it.writer.flush_large()
        assert not it.writer.queued
        it.writer.queued = [b"x" * (LARGE_ANSWER_BYTES // 2), b"small"]
        it.writer.flush_large()
        assert it.writer.queued


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_answer_beside_many_events_makes_no_slow_reader(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Each may be most of the bound. Once the client has taken all of it, the bound is as before."""

    async def scenario(it: Line) -> None:
        written = it.fill()
        while it.writer.recount() < MAX_OUTBOUND - PART:
            written += it.writer.send_now(b"x" * PART)
        it.writer.queued = b"y" * (MAX_OUTBOUND // 2)
        it.writer.flush_large()
        await it.read(written + MAX_OUTBOUND // 2)
        await it.writer.flushed()
        assert it.given_up == []
        it.fill()
        while it.writer.send_now(b"x" * PART):
            assert it.writer.recount() <= MAX_OUTBOUND
        assert it.given_up == [CloseReason.SLOW_READER]

    on(loop, scenario)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_events_behind_an_answer_are_bounded(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A client that takes nothing of its answer is given up for what waits beside it."""

    async def scenario(it: Line) -> None:
        answer = MAX_OUTBOUND // 2
        it.writer.queued = b"y" * answer
        it.writer.flush_large()
        while it.writer.send_now(b"x" * PART):
            assert it.writer.recount() <= MAX_OUTBOUND + answer
        assert it.given_up == [CloseReason.SLOW_READER]

    on(loop, scenario)


async def test_nothing_follows_the_last_frame() -> None:
    """Neither what is sent later nor what was still queued."""
    async with line() as it:
        it.writer.send_now(b"first ")
        it.writer.queued = b"never"
        it.writer.finish(b"last")
        assert (it.writer.flush(), it.writer.send_now(b"never")) == (0, 0)
        it.transport.close()
        assert await it.read(10) == b"first last"


async def test_the_end_wakes_those_who_wait() -> None:
    """A client that is gone is waited for no longer, and nothing is counted for it."""
    async with line() as it:
        it.fill()
        flushed = asyncio.create_task(it.writer.flushed())
        await asyncio.sleep(0)
        it.transport.abort()
        async with asyncio.timeout(DEADLINE_S):
            await flushed
        assert it.given_up == []
