"""A crowd of light clients on a WebSocket of our own: what PROTOCOL.md asks of a client, and nothing else."""

import asyncio
import itertools
import random
from typing import Any
from urllib.parse import urlsplit

import orjson

from loadtest.frames import Opcode
from tests.clients.frames import closing, masked
from tests.clients.raw import connect, event, handshake
from tests.harness.crowd_program import serve
from tests.harness.witness import Json, Witness

BACKOFF_S, BACKOFF_MAX_S = 1.0, 5.0
"""Before the next try to connect: doubling, each half to one and a half of it."""

RETRY_S = 0.2
"""Before a message that was refused for now is sent again."""


class Wire(asyncio.Protocol):
    """One connection: frames in, text out."""

    def __init__(self, member: "SocketMember") -> None:
        self._member = member
        self._transport: Any = None
        self._buffer = bytearray()
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = transport
        self._member.connected(self)
        self._transport.write(handshake())

    def data_received(self, data: bytes) -> None:
        """Take what is whole, keep the rest."""
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        at = 0
        while (end := self._frame(at)) is not None:
            at = end
        del self._buffer[:at]

    def connection_lost(self, error: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._member.lost(self)

    def say(self, text: str) -> None:
        """Send one text."""
        if not self._transport.is_closing():
            self._transport.write(masked(text))

    def close(self) -> None:
        """Leave."""
        if not self._transport.is_closing():
            self._transport.write(closing(1000))
            self._transport.close()

    def _upgrade(self) -> bool:
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head.split(b" ", 2)[1].decode()
        self._upgraded = status == "101"
        del self._buffer[: len(head) + len(end)]
        if not self._upgraded:
            self._member.witness.failed[f"handshake {status}"] += 1
            self._transport.abort()
        return self._upgraded

    def _frame(self, at: int) -> int | None:
        buffer = self._buffer
        if len(buffer) < at + 2:
            return None
        opcode, size, begin = buffer[at] & 0x0F, buffer[at + 1] & 0x7F, at + 2
        if size >= 126:
            begin += 2 if size == 126 else 8
            size = int.from_bytes(buffer[at + 2 : begin], "big")
        if len(buffer) < begin + size:
            return None
        payload = bytes(buffer[begin : begin + size])
        if opcode == Opcode.TEXT:
            self._member.heard(self, payload)
        elif opcode == Opcode.CLOSE:
            self.close()
        return begin + size


class SocketMember:
    """One member: joins, resumes, sends under keys."""

    def __init__(self, url: str, wanted: Json) -> None:
        self.witness = Witness(wanted["user"], "socket", wanted["channel"])
        self._token = wanted["token"]
        place = urlsplit(url)
        assert place.hostname is not None
        self._place = place.hostname, place.port or 80
        self._position: Json | None = None
        self._wire: Wire | None = None
        self._ready = asyncio.Event()
        self._entered = asyncio.Event()
        self._acks: dict[int, asyncio.Future[Json]] = {}
        self._numbers = itertools.count(1)
        self._join = 0
        self._turn = asyncio.Lock()
        self._failures = 0
        self._leaving = False
        self._soon = 0.0
        self._dialing: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Connect and join."""
        self._dialing = asyncio.create_task(self._dial(0.0))
        await self._entered.wait()

    async def send(self, key: str, text: str) -> int:
        """One at a time; again after a lost connection or a refusal that passes."""
        payload = {"channel": self.witness.channel, "text": text, "key": key}
        async with self._turn:
            while True:
                await self._ready.wait()
                ack = await self._command("message:send", payload)
                if ack.get("ok"):
                    offset: int = ack["offset"]
                    return offset
                if "error" in ack:
                    self.witness.failed[f"retried {ack['error']['code']}"] += 1
                    await asyncio.sleep(RETRY_S)

    async def leave(self) -> None:
        """Close."""
        self._leaving = True
        if self._dialing is not None:
            self._dialing.cancel()
        if self._wire is not None:
            self._wire.close()

    # What the connection tells

    def connected(self, wire: Wire) -> None:
        """There is a connection, which can do nothing yet."""
        self._wire = wire

    def heard(self, wire: Wire, payload: bytes) -> None:
        """One text of the server."""
        if payload.startswith(b'42/chat,["message:created"'):
            self._take(orjson.loads(payload[8:])[1])
        elif payload == b"2":
            wire.say("3")
        elif payload.startswith(b"0"):
            resume = {} if self._position is None else {self.witness.channel: self._position}
            wire.say(connect({"token": self._token, "resume": resume}))
        elif payload.startswith(b"42/chat,"):
            self._told(wire, *orjson.loads(payload[8:]))
        elif payload.startswith(b"43/chat,"):
            number, _, body = payload[8:].partition(b"[")
            self._answered(int(number), orjson.loads(b"[" + body)[0])
        elif payload.startswith((b"41", b"44")):
            self.witness.fault(payload.decode())

    def lost(self, wire: Wire) -> None:
        """The connection is gone: what is unanswered has to be asked again."""
        if self._wire is not wire:
            return
        self._wire = None
        self._ready.clear()
        for answer in self._acks.values():
            if not answer.done():
                answer.set_result({})
        self._acks.clear()
        if not self._leaving:
            wait = self._soon or min(BACKOFF_MAX_S, BACKOFF_S * 2**self._failures) * (0.5 + random.random())
            self._failures, self._soon = self._failures + 1, 0.0
            self._dialing = asyncio.create_task(self._dial(wait))

    async def _dial(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        self.witness.dials()
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Wire(self), *self._place)
        except OSError:
            self.witness.failed["unreachable"] += 1
            self._dialing = asyncio.create_task(self._dial(BACKOFF_S * (0.5 + random.random())))

    def _told(self, wire: Wire, name: str, body: Json) -> None:
        match name:
            case "session:ready":
                self._failures = 0
                self._ready.set()
                if self._position is None:
                    self._enter(wire)
            case "channel:resumed" if body["recovered"] is True:
                for missed in body["events"]:
                    self._take(missed)
                self._at(body)
            case "session:draining":
                asyncio.get_running_loop().call_later(body["reconnect_in_ms"] / 1000, self._move, wire)
            case "channel:resumed" | "channel:removed" | "session:terminated":
                self.witness.fault(f"{name}: {body}")
            case _:
                pass

    def _enter(self, wire: Wire) -> None:
        """Join, on this connection."""
        if self._wire is wire:
            self._join = self._ask(wire, "channel:join", {"channel": self.witness.channel})

    def _move(self, wire: Wire) -> None:
        """Told to go elsewhere: at the given time, and not after a backoff."""
        if self._wire is wire:
            self._soon = 0.001
            wire.close()

    def _take(self, body: Json) -> None:
        message = body["message"]
        self.witness.hear(body["offset"], message["id"], message["text"])
        self._at(body)

    def _at(self, body: Json) -> None:
        self._position = {"epoch": body["epoch"], "offset": body["offset"]}

    async def _command(self, name: str, payload: Json) -> Json:
        assert self._wire is not None
        return await self._acks[self._ask(self._wire, name, payload)]

    def _ask(self, wire: Wire, name: str, payload: Json) -> int:
        number = next(self._numbers)
        self._acks[number] = asyncio.get_running_loop().create_future()
        wire.say(event(name, payload, ack=number))
        return number

    def _answered(self, number: int, ack: Json) -> None:
        if number == self._join and ack["ok"]:
            self._at(ack)  # here and not where the answer is awaited: the channel's next event may be in the same read
            self._entered.set()
        elif number == self._join and self._wire is not None:
            self.witness.failed[f"join {ack['error']['code']}"] += 1
            asyncio.get_running_loop().call_later(RETRY_S, self._enter, self._wire)
        answer = self._acks.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(ack)


if __name__ == "__main__":
    serve(SocketMember)
