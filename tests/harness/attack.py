"""Clients that send as fast as they can, from threads: a thread that waits for the kernel leaves the test its time."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.clients.frames import masked
from tests.clients.raw import connect, handshake

READ_BYTES = 1 << 18

REST_S = 0.02
"""Between two connections of one attacker, so that the attack is what is sent and not the handshakes."""

ANSWER_S = 20.0


class Attack:
    """Sends `data` again and again on each of some connections, and opens another when the server closes one.

    `opening` is sent first on each; with `token` that is a CONNECT. If it does not shake hands, `data` is HTTP. Each
    attacker reads what it is sent, so that it is no slow reader. `attackers` counts those of all runs, `connections`
    those that they opened (one each, if the server closes none), `sent` the bytes.
    """

    def __init__(
        self, port: int, data: bytes, *, opening: bytes = b"", token: str | None = None, shakes: bool = True
    ) -> None:
        self._port = port
        self._data = data
        self._shakes = shakes
        self._opening = (masked(connect({"token": token})) if token else b"") + opening
        self._over = threading.Event()
        self.attackers = self.connections = 0
        self.sent = 0

    async def run(self, sockets: int, seconds: float) -> None:
        """Attack for so long."""
        self.attackers += sockets
        await _in_threads(self._again_and_again, sockets, seconds)

    def _again_and_again(self, ends: float) -> None:
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                self._attack(ends)
            self._over.wait(REST_S)

    def _attack(self, ends: float) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S) as client:
            if self._shakes:
                client.sendall(handshake())
                client.recv(READ_BYTES)
            self.connections += 1
            client.sendall(self._opening)
            client.setblocking(False)
            left = memoryview(self._data)
            while time.monotonic() < ends:
                with contextlib.suppress(BlockingIOError):
                    while client.recv(READ_BYTES):
                        pass
                    return
                try:
                    sent = client.send(left)
                except BlockingIOError:
                    self._over.wait(0.001)
                    continue
                self.sent += sent
                left = left[sent:] or memoryview(self._data)


class Requests:
    """Sends one HTTP request again and again on each of some connections. `answers` counts the answers by status."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._request = handshake(path, headers)
        self.answers: dict[int, int] = {}

    async def run(self, sockets: int, seconds: float) -> None:
        """Attack for so long."""
        await _in_threads(self._ask, sockets, seconds)

    def _ask(self, ends: float) -> None:
        while time.monotonic() < ends:
            with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S) as client:
                client.sendall(self._request)
                status = int(client.recv(READ_BYTES).split(b" ", 2)[1])
                self.answers[status] = self.answers.get(status, 0) + 1


async def _in_threads(attack: Callable[[float], None], threads: int, seconds: float) -> None:
    ends = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(threads) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, attack, ends) for _ in range(threads)))


def command(name: str, payload: Mapping[str, object] | list[object], ack: int) -> bytes:
    """Write the frame of a command."""
    return masked(f"42/chat,{ack}{json.dumps([name, payload], separators=(',', ':'))}")
