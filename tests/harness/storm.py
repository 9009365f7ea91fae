"""Thousands of clients in a process of their own, which come at once, leave at once, and may be killed."""

import asyncio
import json
import select
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bench.client_protocols import PROTOCOLS, Conversation, Line, Plan, upgrade
from bench.clients import Crowd
from bench.machine import raise_file_limit
from loadtest.frames import closing, frame
from tests.clients.raw import connect, event
from tests.harness.server import ROOT
from tests.harness.tokens import token

FILES = 16_384
"""For the clients, and for a server that this process starts after it has asked for them."""

TURN_S = 0.02
ORDER_S = 60.0
"""No order takes longer."""

PATH = "/socket.io/?EIO=4&transport=websocket"
JOIN = Line(frame(event("channel:join", {"channel": "room:storm"}, ack=1).encode()), b"43/chat,1[")


@dataclass(frozen=True, slots=True)
class Arrived:
    """How a storm went: clients that are in, seconds until the last was, and the longest that one waited."""

    clients: int
    seconds: float
    longest_s: float


class Storm:
    """The clients' process. Use as an async context manager; `start` after a kill makes a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Begin, without a client."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.harness.storm",
            str(self._port),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def arrive(self, count: int, resume: Mapping[str, object] | None = None) -> Arrived:
        """So many come in the same instant: handshake, token, and a channel, which is joined or resumed."""
        return Arrived(**await self._order({"do": "arrive", "count": count, "resume": resume}))

    async def close(self) -> int:
        """All say goodbye by a close frame in the same instant; return how many were let go by the server."""
        return int((await self._order({"do": "close"}))["gone"])

    async def kill(self) -> None:
        """`kill -9`: nobody says goodbye."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _order(self, order: Mapping[str, object]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(ORDER_S):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer


def _conversation(number: int, resume: Mapping[str, object] | None) -> Conversation:
    handshake = Line(upgrade(PATH), b'"maxPayload"')
    hello: dict[str, object] = {"token": token(f"user-{number}")}
    if resume is None:
        return (handshake, Line(frame(connect(hello).encode()), b'"session:ready"'), JOIN)
    return (handshake, Line(frame(connect(hello | {"resume": resume}).encode()), b'"session:ready"'))


def _arrive(
    crowd: Crowd, inside: list[int], port: int, count: int, resume: Mapping[str, object] | None
) -> dict[str, object]:
    plans = [Plan(port, _conversation(number, resume)) for number in range(count)]
    began = time.perf_counter()
    entered, took = crowd.enter(plans, count)
    inside += entered
    return {"clients": len(entered), "seconds": time.perf_counter() - began, "longest_s": max(took)}


def _close(crowd: Crowd, inside: list[int]) -> dict[str, object]:
    goodbye, before, deadline = closing(1000), crowd.lost, time.monotonic() + ORDER_S
    for descriptor in inside:
        crowd.say(descriptor, goodbye)
    while crowd.lost - before < len(inside) and time.monotonic() < deadline:
        crowd.pump(TURN_S)
    return {"gone": crowd.lost - before}


def main(port: int) -> None:
    """Do what the lines say; answer pings in between."""
    raise_file_limit(FILES)
    crowd, inside = Crowd(PROTOCOLS["maru"]), list[int]()
    while True:
        crowd.pump(TURN_S)
        if not select.select([sys.stdin], [], [], 0)[0]:
            continue
        line = sys.stdin.readline()
        if not line:
            return
        order = json.loads(line)
        if order["do"] == "arrive":
            answer = _arrive(crowd, inside, port, order["count"], order["resume"])
        else:
            answer = _close(crowd, inside)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
