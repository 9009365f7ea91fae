"""A connection's reading half over a real socket: its turns, its pauses, its end, and the faults of a stream."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.gateway.websocket.frames import FRAMES_PER_TURN, CloseCode
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.reader import (
    ABNORMAL_CLOSURE,
    LARGE_READ_BYTES,
    LAST_READ_AFTER_FAULT,
    LAST_READ_BYTES,
    Reader,
)
from tests.clients.frames import closing, masked, unmasked
from tests.doubles.virtual_time import turns


class Sink:
    """Takes messages while it has room, and notes the fault that broke the stream off."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.texts: list[str] = []
        self.closes: list[int] = []
        self.faults: list[CloseCode] = []
        self.room = True
        self.held = 0

    def hold(self, size: int) -> None:
        self.held += size

    def take(self, message: Any) -> None:
        if isinstance(message.data, str):
            self.texts.append(message.data)
        else:
            self.closes.append(message.data)

    def break_off(self, code: CloseCode, reason: str) -> None:
        self.faults.append(code)
        self._reader.stop(self)

    def has_room(self) -> bool:
        return self.room

    def feed(self, data: bytes) -> None:
        """Make a read of these bytes."""
        self._reader.feed(data, self)


@asynccontextmanager
async def reading() -> AsyncIterator[tuple[Reader, Sink, asyncio.Transport]]:
    """A reader on a real transport, whose reads the test makes itself."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        reader = Reader(transport, Inbox(loop))
        reader.feed(masked("40"), Sink(reader))  # the CONNECT: before it only a few frames may come
        yield reader, Sink(reader), transport
        transport.abort()


def numbered(count: int) -> tuple[bytes, list[str]]:
    """So many frames, and their texts."""
    texts = [f"packet {number}" for number in range(count)]
    return b"".join(map(masked, texts)), texts


async def test_a_read_of_many_frames_takes_several_turns() -> None:
    """Nothing more is read meanwhile, and the order is kept."""
    async with reading() as (_, sink, transport):
        data, texts = numbered(FRAMES_PER_TURN * 2 + 1)
        sink.feed(data)
        for count in (FRAMES_PER_TURN, FRAMES_PER_TURN * 2, len(texts)):
            assert sink.texts == texts[:count]
            assert not transport.is_reading()
            await turns(1)
        await turns(1)
        assert transport.is_reading()


async def test_a_large_read_ends_the_clients_turn() -> None:
    """Others are read from before the same client again."""
    async with reading() as (_, sink, transport):
        sink.feed(masked("x" * LARGE_READ_BYTES))
        assert not transport.is_reading()
        await turns(1)
        assert transport.is_reading()


async def test_reading_waits_for_room() -> None:
    """The rest of a read, and the transport, wait until the receiver says that it has room again."""
    async with reading() as (reader, sink, transport):
        data, texts = numbered(FRAMES_PER_TURN + 1)
        sink.room = False
        sink.feed(data)
        await turns(3)
        assert sink.texts == texts[:-1]
        sink.room = True
        reader.room_again(sink)
        await turns(3)
        assert sink.texts == texts
        assert transport.is_reading()


async def test_nothing_is_read_while_held() -> None:
    """Room does not end it; the close of the connection does, since the peer's close frame is searched for."""
    async with reading() as (reader, sink, transport):
        reader.hold()
        reader.room_again(sink)
        await turns(3)
        assert not transport.is_reading()
        reader.seek_close(sink)
        await turns(1)
        assert transport.is_reading()
        reader.hold()
        assert transport.is_reading()


async def test_the_search_for_a_close_frame_is_bounded() -> None:
    """After so many bytes nothing more is read, and nothing that has been read counts."""
    async with reading() as (reader, sink, transport):
        reader.seek_close(sink)
        for _ in range(LAST_READ_BYTES // 1_000):
            sink.feed(masked("x" * 994)[:1_000])
        assert transport.is_reading()
        sink.feed(masked("x" * 994)[:1_000])
        sink.feed(closing(1000))
        reader.room_again(sink)
        await turns(3)
        assert not transport.is_reading()
        assert sink.closes == []


async def test_little_is_read_of_a_client_at_fault() -> None:
    """Its close frame still counts; but of a client that sends more than that, nothing is read."""
    async with reading() as (reader, sink, transport):
        reader.seek_close(sink, LAST_READ_AFTER_FAULT)
        sink.feed(masked("x") * 9)
        sink.feed(closing(1000))
        assert (sink.closes, transport.is_reading()) == ([1000], True)
    for flood in (masked("x" * LAST_READ_AFTER_FAULT), masked("3") * 200):
        async with reading() as (reader, sink, transport):
            reader.seek_close(sink, LAST_READ_AFTER_FAULT)
            sink.feed(flood)
            reader.room_again(sink)
            await turns(3)
            assert (sink.closes, transport.is_reading()) == ([], False)


async def test_nothing_is_read_behind_a_flood() -> None:
    """Neither is the rest of the read looked at, nor is there another."""
    for flood in (masked("3") * 5_000, unmasked("3") * 1_000):
        async with reading() as (reader, sink, transport):
            sink.feed(flood)
            await turns(9)
            reader.room_again(sink)
            await turns(3)
            assert len(sink.faults) == 1
            assert not transport.is_reading()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (unmasked("3"), CloseCode.PROTOCOL_ERROR),
        (masked(b"4\xff"), CloseCode.INVALID_TEXT),
        (masked("x" * 65_537), CloseCode.MESSAGE_TOO_BIG),
        (closing(ABNORMAL_CLOSURE), CloseCode.PROTOCOL_ERROR),
    ],
    ids=["not masked", "not UTF-8", "too big", "close code 1006"],
)
async def test_a_fault_breaks_the_stream_off(data: bytes, code: CloseCode) -> None:
    """Once; a close frame behind it is not looked at."""
    async with reading() as (_, sink, transport):
        sink.feed(data)
        sink.feed(closing(1000))
        await turns(10)
        assert (sink.faults, sink.closes) == ([code], [])
        assert transport.is_reading()


async def test_a_paused_client_counts_as_alive() -> None:
    """Whatever it says, waits unread; otherwise the last read decides."""
    async with reading() as (reader, sink, _):
        now = asyncio.get_running_loop().time()
        assert not reader.heard_since(now + 1)
        reader.pause()
        assert reader.heard_since(now + 1)
        reader.room_again(sink)
        await turns(1)
        assert reader.heard_since(now)
        assert not reader.heard_since(now + 1)
