"""A WebSocket client without manners: it sends any bytes, split anywhere, and reads frames one by one.

`RawSocket` sends bytes and reads frames, answers the server's pings, and speaks just enough Socket.IO to connect, to
ask and to listen. `tests.clients.frames` has the frames to send.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from weakref import WeakSet

from loadtest.frames import Frames, Opcode, close_code
from loadtest.target import reset_on_close
from tests.clients.frames import closing, masked
from tests.harness.waiting import pause

WAIT_S = 10.0
"""How long any single answer may take."""

READ_BYTES = 1 << 16

PATH = "/socket.io/?EIO=4&transport=websocket"
CHAT = "/chat"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server. A server that cuts a message into fragments is read as if it had not."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """A close frame's code; None if it has none."""
        return close_code(self.payload) if len(self.payload) > 1 else None

    @property
    def reason(self) -> str:
        """A close frame's text."""
        return self.payload[2:].decode()


def event(name: str, *payload: object, ack: int | None = None, namespace: str = CHAT) -> str:
    """Write an Engine.IO message with a Socket.IO EVENT."""
    return f"42{namespace},{'' if ack is None else ack}{json.dumps([name, *payload])}"


def connect(auth: object, namespace: str = CHAT) -> str:
    """Write an Engine.IO message with a Socket.IO CONNECT."""
    return f"40{namespace},{json.dumps(auth)}"


def handshake(path: str = PATH, headers: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    """Write the request that opens a WebSocket. `headers` replace and add; an empty header is left out."""
    standard = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in (standard | dict(headers or {})).items() if value)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


class Gone(Exception):
    """The server has closed TCP."""


class Refused(AssertionError):
    """The server has answered a handshake with another `status` than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"expected 101, got {status}")
        self.status = status


OPENED: "WeakSet[RawSocket]" = WeakSet()
"""All that somebody still refers to. Those of a test that fails are closed at its end (`tests/conftest.py`)."""

RETRY_S = 0.1
"""Between two tries of a client that is in earnest."""


async def admitted(opening: Callable[[], Awaitable["RawSocket"]]) -> "RawSocket":
    """Open as clients do, who try again while the server says that it is busy (503): on a busy machine it may be, also
    before a test has begun."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await opening()
            except Refused as refused:
                if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            await asyncio.sleep(RETRY_S)


PRESENCE = b'42/chat,["presence:'
"""How the frame of an event of presence begins."""


class RawSocket:
    """One TCP connection. `open` makes a WebSocket of it, `join_chat` a session; both are optional.

    `connection` is the Engine.IO sid of the opening packet, `session` the Socket.IO sid. Frames are read, and pings of
    the server answered, only while a method that reads is running.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        OPENED.add(self)
        self._reader, self._writer = reader, writer
        self._acks = itertools.count(1)
        self._frames = Frames()
        self._arrived: deque[tuple[int, bytes]] = deque()  # read, and not asked for yet
        self.connection = self.session = ""
        self.opening: dict[str, Any] = {}
        self.pings = 0
        self.unread: list[str] = []
        self.sees_presence = False  # whether events of presence are read as others are; else they are dropped

    # Opening

    @classmethod
    async def dial(cls, port: int, receive_buffer: int | None = None, local_address: str | None = None) -> Self:
        """Connect TCP; `receive_buffer` makes the window small, `local_address` is where the client seems to be."""
        plain = socket.socket()
        plain.setblocking(False)
        if local_address is not None:
            plain.bind((local_address, 0))
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.sock_connect(plain, ("127.0.0.1", port)), WAIT_S)
        except BaseException:
            plain.close()
            raise
        limit = 1 << 16 if receive_buffer is None else receive_buffer
        return cls(*await asyncio.open_connection(sock=plain, limit=limit))

    @classmethod
    async def open(cls, port: int, headers: Mapping[str, str] | None = None, behind: bytes = b"", **dial: Any) -> Self:
        """Connect a WebSocket and read the Engine.IO opening; `behind` goes out in the same write as the handshake."""
        client = await cls.dial(port, **dial)
        with client.gone_on_failure():
            await client.send(handshake(headers=headers) + behind)
            status, _ = await client.response()
            if status != 101:
                raise Refused(status)
            opening = await client.text()
            client.opening = json.loads(opening[1:])
            client.connection = client.opening["sid"]
        return client

    @classmethod
    async def chat(cls, port: int, token: str, resume: Mapping[str, object] | None = None, **dial: Any) -> Self:
        """Open a WebSocket and a session on it."""
        client = await cls.open(port, **dial)
        with client.gone_on_failure():
            await client.join_chat(token, resume)
        return client

    @contextlib.contextmanager
    def gone_on_failure(self) -> Iterator[None]:
        """Close TCP if the body fails: the caller gets no client to close."""
        try:
            yield
        except BaseException:
            self.vanish()
            raise

    async def join_chat(self, token: str, resume: Mapping[str, object] | None = None) -> dict[str, Any]:
        """CONNECT; return the data of `session:ready`. Texts that come before it stay in `unread`."""
        await self.say(connect({"token": token} | ({"resume": resume} if resume else {})))
        answer = await self.text()
        if not answer.startswith("40/chat,"):
            raise AssertionError(f"expected CONNECT, got {answer[:200]}")
        self.session = json.loads(answer[len("40/chat,") :])["sid"]
        return await self.event("session:ready")

    async def refused(self, token: str) -> str:
        """CONNECT with a token that is to be refused; return the code."""
        await self.say(connect({"token": token}))
        answer = await self.text()
        if not answer.startswith("44/chat,"):
            raise AssertionError(f"expected CONNECT_ERROR, got {answer[:200]}")
        code: str = json.loads(answer[len("44/chat,") :])["message"]
        return code

    # Sending

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        try:
            await asyncio.wait_for(self._writer.drain(), WAIT_S)
        except ConnectionError as error:
            raise Gone from error

    def push(self, data: bytes) -> None:
        """Hand bytes to the kernel without waiting for it."""
        self._writer.write(data)

    async def drip(self, data: bytes, cuts: Iterable[int]) -> None:
        """Send bytes in several writes, each a segment of its own, cut at the given places."""
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
            await self.send(data[begin:end])
            await asyncio.sleep(0)

    async def say(self, text: str) -> None:
        """Send one text message."""
        await self.send(masked(text))

    @contextlib.asynccontextmanager
    async def showing_life(self, every_s: float = 0.2) -> AsyncIterator[None]:
        """Send pongs while the body runs, and read nothing."""
        over = asyncio.Event()

        async def pong() -> None:
            while not await pause(over, every_s):
                self.push(masked("3"))

        task = asyncio.create_task(pong())
        try:
            yield
        finally:
            over.set()
            await task

    async def ask(self, name: str, *payload: object) -> dict[str, Any]:
        """Send a command; return its ack. Texts that come before it stay in `unread`."""
        ack = next(self._acks)
        await self.say(event(name, *payload, ack=ack))
        return await self.ack(ack)

    # Reading

    def _heard(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that end in the data; of presence, only if the client cares."""
        frames = self._frames.feed(data)
        return [frame for frame in frames if self.sees_presence or not frame[1].startswith(PRESENCE)]

    async def frame(self, timeout: float = WAIT_S) -> Frame:
        """Return the next frame, whatever it is. Raises `Gone` at the end of the stream."""
        try:
            async with asyncio.timeout(timeout):
                while not self._arrived:
                    data = await self._reader.read(READ_BYTES)
                    if not data:
                        raise Gone
                    self._arrived += self._heard(data)
        except ConnectionError as error:
            raise Gone from error
        return Frame(*self._arrived.popleft())

    async def text(self, timeout: float = WAIT_S) -> str:
        """Return the next text message; answer pings."""
        async with asyncio.timeout(timeout):
            while True:
                frame = await self.frame(timeout)
                if frame.opcode == Opcode.CLOSE:
                    raise AssertionError(f"closed: {frame.code} {frame.reason}")
                if frame.opcode == Opcode.TEXT and frame.payload != b"2":
                    return frame.payload.decode()
                if frame.opcode == Opcode.TEXT:
                    self.pings += 1
                    await self.say("3")

    async def ack(self, number: int, timeout: float = WAIT_S) -> dict[str, Any]:
        """Return the answer to the command with this ack id."""
        body = (await self._wanted(f"43/chat,{number}[", timeout)).partition("[")[2]
        answer: dict[str, Any] = json.loads("[" + body)[0]
        return answer

    async def event(self, name: str, timeout: float = WAIT_S) -> dict[str, Any]:
        """Return the data of the next event of this name; other texts stay in `unread`."""
        body = await self._wanted(f'42/chat,["{name}",', timeout)
        data: dict[str, Any] = json.loads(body[len("42/chat,") :])[1]
        return data

    async def events(self, name: str, count: int) -> Sequence[dict[str, Any]]:
        """Return the data of the next events of this name."""
        return [await self.event(name) for _ in range(count)]

    async def _wanted(self, start: str, timeout: float) -> str:
        for index, text in enumerate(self.unread):
            if text.startswith(start):
                return self.unread.pop(index)
        async with asyncio.timeout(timeout):
            while not (text := await self.text(timeout)).startswith(start):
                self.unread.append(text)
        return text

    async def response(self, timeout: float = WAIT_S) -> tuple[int, bytes]:
        """Return status and body of an HTTP answer; the bytes behind a 101 are left to be read as frames."""
        head, body = await self.whole_response(timeout)
        return int(head.split(b" ", 2)[1]), body

    async def whole_response(self, timeout: float = WAIT_S) -> tuple[bytes, bytes]:
        """Return head and body of an HTTP answer."""
        try:
            async with asyncio.timeout(timeout):
                head = await self._reader.readuntil(b"\r\n\r\n")
                size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                return head, await self._reader.readexactly(int(size or 0))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error

    # Ending

    async def closed(self, timeout: float = WAIT_S) -> Frame:
        """Read up to the server's close frame, answer it as a client should, and wait until TCP is closed too.

        Texts that come before it stay in `unread`. Raises `Gone` if TCP ends without a close frame.
        """
        async with asyncio.timeout(timeout):
            while (frame := await self.frame(timeout)).opcode != Opcode.CLOSE:
                if frame.payload == b"2":
                    await self.say("3")
                elif frame.opcode == Opcode.TEXT:
                    self.unread.append(frame.payload.decode())
            self.push(closing(frame.code))
            await self.eof(timeout)
        return frame

    async def end_of_stream(self, timeout: float = WAIT_S) -> None:
        """Read up to the end of TCP's stream, which must come without a close frame and without a reset.

        Texts that come before it stay in `unread`; pings are answered. Then close TCP, as a client does.
        """
        async with asyncio.timeout(timeout):
            while True:
                while not self._arrived:
                    data = await self._reader.read(READ_BYTES)
                    if not data:
                        self._writer.close()
                        return
                    self._arrived += self._heard(data)
                frame = Frame(*self._arrived.popleft())
                assert frame.opcode != Opcode.CLOSE, f"a close frame: {frame.code} {frame.reason}"
                if frame.payload == b"2":
                    await self.say("3")
                elif frame.opcode == Opcode.TEXT:
                    self.unread.append(frame.payload.decode())

    async def rest(self, timeout: float = WAIT_S) -> bytes:
        """Return what the server sends until it closes TCP.

        Frames that have been read already, and not asked for, come first: opcode and payload of each.
        """
        rest = b"".join(bytes((opcode,)) + payload for opcode, payload in self._arrived) + self._frames.rest
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(timeout):
                while piece := await self._reader.read(READ_BYTES):
                    rest += piece
        self.vanish()
        return rest

    async def eof(self, timeout: float = WAIT_S) -> None:
        """Wait until the server has closed TCP; drop everything that it still sends."""
        await self.rest(timeout)

    def finish(self) -> None:
        """Close the sending half of TCP."""
        self._writer.write_eof()

    def vanish(self) -> None:
        """Close TCP at once, without a goodbye."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close TCP with a reset: bytes that the server has not read yet are lost."""
        reset_on_close(self._writer.get_extra_info("socket"))
        self.vanish()

    async def leave(self) -> None:
        """Close as clients do."""
        self.push(closing(1000))
        await self.eof()
