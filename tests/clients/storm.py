"""Thousands of clients in a process of their own, which come at once, leave at once, and may be killed.

They are the benchmarks' clients: bytes made in advance, on one epoll.
"""

import json
import select
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bench.client_protocols import PROTOCOLS, Conversation, Line, Plan, upgrade
from bench.clients import Clients
from bench.machine import raise_file_limit
from loadtest.frames import closing, frame
from tests.clients.raw import PATH, connect, event
from tests.harness.program import Json, Program
from tests.harness.tokens import token

FILES = 16_384
"""For the clients, and for a server that this process starts after it has asked for them."""

TURN_S = 0.02
ORDER_S = 60.0
"""No order takes longer."""

JOIN = Line(frame(event("channel:join", {"channel": "room:storm"}, ack=1).encode()), b"43/chat,1[")


@dataclass(frozen=True, slots=True)
class Arrived:
    """The arrival of a storm: clients that are in, seconds until the last was, and the longest wait of a client."""

    clients: int
    seconds: float
    longest_s: float


class Storm:
    """The clients' process. Use as an async context manager."""

    def __init__(self, port: int) -> None:
        self._program = Program(sys.executable, "-m", "tests.clients.storm", str(port))

    async def __aenter__(self) -> Self:
        await self._program.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def arrive(self, count: int, resume: Mapping[str, object] | None = None) -> Arrived:
        """Let clients come in the same instant: handshake, token, and a channel, which is joined or resumed."""
        return Arrived(**await self._program.ask({"do": "arrive", "count": count, "resume": resume}, ORDER_S))

    async def close(self) -> int:
        """Let all say goodbye by a close frame in the same instant; return how many the server let go."""
        return int((await self._program.ask({"do": "close"}, ORDER_S))["gone"])

    async def kill(self) -> None:
        """`kill -9`: nobody says goodbye."""
        await self._program.kill()


class Process:
    """The clients in their process. Each method is one order; its result is the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.clients = Clients(PROTOCOLS["maru"])
        self._inside: list[int] = []

    def arrive(self, count: int, resume: Mapping[str, object] | None) -> Json:
        """Let clients in."""
        plans = [Plan(self._port, _conversation(number, resume)) for number in range(count)]
        began = time.perf_counter()
        entered, took = self.clients.enter(plans, count)
        self._inside += entered
        return {"clients": len(entered), "seconds": time.perf_counter() - began, "longest_s": max(took)}

    def close(self) -> Json:
        """Send close frames, and wait for the ends."""
        goodbye, before, deadline = closing(), self.clients.lost, time.monotonic() + ORDER_S
        for descriptor in self._inside:
            self.clients.say(descriptor, goodbye)
        while self.clients.lost - before < len(self._inside) and time.monotonic() < deadline:
            self.clients.pump(TURN_S)
        return {"gone": self.clients.lost - before}


def _conversation(number: int, resume: Mapping[str, object] | None) -> Conversation:
    handshake = Line(upgrade(PATH), b'"maxPayload"')
    hello: dict[str, Any] = {"token": token(f"user-{number}")} | ({} if resume is None else {"resume": resume})
    conversation = (handshake, Line(frame(connect(hello).encode()), b'"session:ready"'))
    return (*conversation, JOIN) if resume is None else conversation


def main(port: int) -> None:
    """Obey the lines; answer pings in between."""
    raise_file_limit(FILES)
    process = Process(port)
    while True:
        process.clients.pump(TURN_S)
        if not select.select([sys.stdin], [], [], 0)[0]:
            continue
        line = sys.stdin.readline()
        if not line:
            return
        order = json.loads(line)
        answer = getattr(process, order.pop("do"))(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
