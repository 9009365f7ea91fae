"""Letting a client in: it connects, and says the lines of its plan, each once the line before is answered."""

import errno
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from bench.client_protocols import Line, Plan
from bench.processes import LoadFailed

IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h: choose the port when the peer is known, so that one port serves towards several servers."""


@dataclass(slots=True)
class Talk:
    """A client that is being let in."""

    number: int
    """Its place among the plans."""
    sock: socket.socket
    lines: deque[Line]
    began: float
    until: bytes = b""
    seen: bytearray = field(default_factory=bytearray)

    def go_on(self) -> bool:
        """Go on with the conversation, now that the client is connected or has something to read; return whether it is
        over. Raises `LoadFailed`."""
        try:
            if not self.until:
                return self._say_next()
            some = self.sock.recv(65_536)
            self.seen += some
            while self.until in self.seen:
                del self.seen[:]
                if self._say_next():
                    return True
        except OSError as error:
            raise LoadFailed(f"a client was cut off while it came in: {error}") from error
        if not some:
            raise LoadFailed(f"a client was refused: {bytes(self.seen[-300:])!r}")
        return False

    def _say_next(self) -> bool:
        if not self.lines:
            return True
        line = self.lines.popleft()
        self.sock.send(line.say)
        self.until = line.until
        return False


def begin(number: int, plan: Plan, address: str) -> Talk:
    """Begin to connect a client from an address of this machine. Raises `LoadFailed`."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((address, 0))
    if (code := sock.connect_ex(("127.0.0.1", plan.port))) not in {0, errno.EINPROGRESS}:
        raise LoadFailed(f"can't connect to port {plan.port}: {errno.errorcode.get(code, code)}")
    return Talk(number, sock, deque(plan.lines), time.perf_counter())
