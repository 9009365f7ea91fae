"""Many clients in one process: raw non-blocking sockets on one epoll, bytes made in advance, nothing parsed.

A client that parses costs more than any server here: a benchmark of it would measure the client.
"""

import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.client_protocols import ClientProtocol, Line, Plan
from bench.marker import MARKER
from bench.processes import LoadFailed
from bench.talks import Talk, begin

BUFFER_BYTES = 1 << 20
"""More than the kernel keeps for a socket: one read takes everything."""

SOURCE_CLIENTS = 10_000
"""Of one loopback address: it has 28,000 ports for clients, some of which linger from the case before."""

EVENTS = 4_096
"""Sockets looked after in one turn."""

OPEN_S = 120.0
"""All clients of a crowd are in after this, or the case fails."""

CLOSE = 0x88
"""How a close frame begins."""

SHORT = 256
"""Bytes. Pings are looked for in reads below that: to search all that comes costs more than to count it."""

PONG_S = 8.0
"""A client that has seen no ping for this time (it came amid messages) sends a pong: in time, as servers wait 10 s."""

SAY_S = 10.0
"""A server that reads takes a client's bytes within this."""


class Clients:
    """The clients. `taken` is told of every read: (descriptor, marks in it, bytes); the mark is `MARKER` at first."""

    def __init__(self, protocol: ClientProtocol) -> None:
        self.protocol = protocol
        self.lost = 0
        self.received_bytes = 0
        self.parting = "no reason given"
        """Code and reason of the last close frame of a server."""
        self.taken: Callable[[int, int, int], None] = _ignore
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER_BYTES)
        self._receive: dict[int, Callable[[bytearray], int]] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._ponged: dict[int, float] = {}
        self._due: list[tuple[float, int]] = []
        self._opened = 0
        self._mark = MARKER
        self._ends: dict[int, bytes] = {}
        """The last bytes of each client's latest read, if the mark is longer than one byte: a read may cut it."""

    def count(self, mark: bytes) -> None:
        """Count another mark from now on."""
        self._mark = mark
        self._ends.clear()

    def enter(self, plans: Sequence[Plan], concurrency: int) -> tuple[list[int], list[float]]:
        """Let clients in, some at a time; return their descriptors in the order of `plans`, and how long each took.

        Raises `LoadFailed` if a client is refused, or not all are in by `OPEN_S`.
        """
        waiting, talking = deque(enumerate(plans)), dict[int, Talk]()
        entered = [0] * len(plans)
        took: list[float] = []
        deadline = time.perf_counter() + OPEN_S
        while waiting or talking:
            while waiting and len(talking) < concurrency:
                talk = self._begin(*waiting.popleft())
                talking[talk.sock.fileno()] = talk
            for descriptor, _ in self._poll.poll(1.0, EVENTS):
                if descriptor not in talking:
                    self._take(descriptor)
                elif self._hear(talking[descriptor]):
                    talk = talking.pop(descriptor)
                    took.append(time.perf_counter() - talk.began)
                    entered[talk.number] = descriptor
                    self._keep(talk.sock)
            self._pong_unasked()
            if time.perf_counter() > deadline:
                raise LoadFailed(f"{len(talking) + len(waiting)} of {len(plans)} clients not in after {OPEN_S:.0f} s")
        return entered, took

    def pump(self, timeout_s: float) -> None:
        """Take the bytes that have come, for at most one turn; answer pings."""
        for descriptor, _ in self._poll.poll(timeout_s, EVENTS):
            self._take(descriptor)
        self._pong_unasked()

    def wait(self, seconds: float) -> None:
        """As `pump`, for a time that is shorter than the milliseconds that epoll counts in."""
        select.select([self._poll], [], [], seconds)
        self.pump(0)

    def say(self, descriptor: int, data: bytes) -> None:
        """Send for a client; wait if the server does not take it at once. Raises `LoadFailed`."""
        sock = self._sockets[descriptor]
        try:
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                sock.settimeout(SAY_S)
                sock.sendall(data[sent:])
                sock.setblocking(False)
        except OSError as error:
            raise LoadFailed(f"the server takes nothing more from a client: {error}") from error

    def close(self) -> None:
        """All leave at once."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._receive.clear()
        self._due.clear()

    def ask(self, descriptors: Sequence[int], line: Line) -> None:
        """Have clients say a line; return when each has its answer. Raises `LoadFailed`."""
        waiting = dict.fromkeys(descriptors, b"")
        for descriptor in descriptors:
            self.say(descriptor, line.say)
        deadline = time.perf_counter() + OPEN_S
        before = self.taken

        def hear(descriptor: int, _: int, size: int) -> None:
            if descriptor in waiting:
                waiting[descriptor] += bytes(self._buffer[:size])
                if line.until in waiting[descriptor]:
                    del waiting[descriptor]

        self.taken = hear
        try:
            while waiting:
                self.pump(1.0)
                if time.perf_counter() > deadline:
                    raise LoadFailed(f"{len(waiting)} clients without an answer after {OPEN_S:.0f} s")
        finally:
            self.taken = before

    def _begin(self, number: int, plan: Plan) -> Talk:
        talk = begin(number, plan, f"127.0.0.{1 + self._opened // SOURCE_CLIENTS}")
        self._opened += 1
        self._poll.register(talk.sock, select.EPOLLOUT)
        return talk

    def _hear(self, talk: Talk) -> bool:
        if not talk.until:  # writable for the first time: connected
            self._poll.modify(talk.sock, select.EPOLLIN)
        return talk.go_on()

    def _keep(self, sock: socket.socket) -> None:
        self._sockets[sock.fileno()] = sock
        self._receive[sock.fileno()] = sock.recv_into
        now = time.perf_counter()
        self._ponged[sock.fileno()] = now
        heapq.heappush(self._due, (now + PONG_S, sock.fileno()))

    def _take(self, descriptor: int) -> None:
        """Read once: count, pass on, answer a ping."""
        buffer = self._buffer
        try:
            size = self._receive[descriptor](buffer)
        except (BlockingIOError, KeyError):
            return
        except OSError:
            size = 0
        if not size:
            self._drop(descriptor)
            return
        self.received_bytes += size
        if buffer[0] == CLOSE:
            self.parting = f"{int.from_bytes(buffer[2:4], 'big')} {bytes(buffer[4:size])!r}"
        marks = buffer.count(self._mark, 0, size) if len(self._mark) == 1 else self._marks(descriptor, size)
        self.taken(descriptor, marks, size)
        if size < SHORT and buffer.find(self.protocol.ping, 0, size) >= 0:
            self._pong(descriptor)

    def _marks(self, descriptor: int, size: int) -> int:
        """Count a mark of several bytes, also the one that began in the read before."""
        seen = self._ends.get(descriptor, b"") + self._buffer[:size]
        self._ends[descriptor] = bytes(seen[1 - len(self._mark) :])
        return seen.count(self._mark)

    def _pong(self, descriptor: int) -> None:
        self._ponged[descriptor] = time.perf_counter()
        if self.protocol.pong:
            self.say(descriptor, self.protocol.pong)

    def _pong_unasked(self) -> None:
        if not self.protocol.pong_unasked:
            return
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            _, descriptor = heapq.heappop(self._due)
            if descriptor in self._sockets:
                if self._ponged[descriptor] + PONG_S <= now:
                    self._pong(descriptor)
                heapq.heappush(self._due, (self._ponged[descriptor] + PONG_S, descriptor))

    def _drop(self, descriptor: int) -> None:
        self.lost += 1
        self._poll.unregister(descriptor)
        self._receive.pop(descriptor)
        self._sockets.pop(descriptor).close()


def _ignore(descriptor: int, markers: int, size: int) -> None:
    """Take no notice of a read."""
