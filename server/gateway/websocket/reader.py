"""The reading half of a connection: a bounded number of frames in each turn of the event loop."""

import asyncio
import time
from enum import IntEnum
from typing import Any, Protocol

from aiohttp.http import WebSocketError, WSMsgType

from server.domain.limits import MAX_PAYLOAD
from server.gateway.websocket.frames import FLOODS, CloseCode, HeaderCheck
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.memory import UNCOUNTED_BYTES

LARGE_READ_BYTES = 1 << 16
"""A read of such a size ends the client's turn: libuv reads a socket up to 32 times before it looks at another."""

LAST_READ_BYTES = 1 << 18
"""Bytes read after the server's close frame, in search of the peer's; then the server reads no more."""

LAST_READ_AFTER_FAULT = 1_024
"""The same if the client is at fault: enough for the close frame of a client that sends nothing else."""

_FAULTS: dict[int, str] = {
    CloseCode.INVALID_TEXT: "text is not UTF-8",
    CloseCode.MESSAGE_TOO_BIG: f"message over {MAX_PAYLOAD:,} bytes",
}
"""The faults that the frame reader finds, in words, by its close codes."""

ABNORMAL_CLOSURE = 1006
"""A close code for programs' own use, never sent (RFC 6455, section 7.4.1). aiohttp's reader accepts it."""


class Receiver(Protocol):
    """Takes what a `Reader` reads."""

    def take(self, message: Any) -> None:
        """Take a whole message, as aiohttp's reader makes it."""

    def break_off(self, code: CloseCode, reason: str) -> None:
        """Close the connection: its frames can't be read any further."""

    def has_room(self) -> bool:
        """Say whether further messages are wanted now."""

    def hold(self, size: int) -> None:
        """Count so many bytes more, or fewer, that are kept until they are a whole message, or until there is room."""


class ReadMode(IntEnum):
    """The frames of a client that are wanted. It only grows."""

    MESSAGES = 0
    HELD = 1  # nothing, until the connection closes
    CLOSE_FRAME = 2  # the server's close frame is written: only the peer's is wanted
    NOTHING = 3  # every read is dropped


class Reader:
    """Reads a client's frames. It pauses the transport while the rest of a read waits for the next turn of the event
    loop, and while the receiver has no room."""

    __slots__ = {
        "_begun": "Bytes of messages that are not complete, an upper bound.",
        "_counted": "Bytes that the receiver has been told to hold.",
        "_early": "Whether no CONNECT has come yet.",
        "_frames": "aiohttp's frame reader.",
        "_headers": "The checks that the frame reader leaves out.",
        "_heard_at": "The monotonic time of the last read.",
        "_inbox": "Where the frame reader puts messages. Empty between two calls.",
        "_last_bytes": "Bytes that are still read after the server's close frame.",
        "_mode": "The frames that are wanted.",
        "_paused": "Whether the transport is paused.",
        "_rest": "The part of the last read that waits for the next turn.",
        "_scheduled": "Whether `_read_on` is due.",
        "_transport": "Where the bytes come from.",
    }

    def __init__(self, transport: asyncio.Transport, inbox: Inbox) -> None:
        self._transport = transport
        self._inbox = inbox
        self._frames = inbox.new_reader()
        self._headers = HeaderCheck()
        self._heard_at = time.monotonic()
        self._mode = ReadMode.MESSAGES
        self._rest = b""
        self._begun = self._counted = 0
        self._paused = self._scheduled = False
        self._early = True
        self._last_bytes = LAST_READ_BYTES

    def feed(self, data: bytes, receiver: Receiver) -> None:
        """Handle the first frames of a read now, and the others in the next turns."""
        self._heard_at = time.monotonic()
        if self._mode >= ReadMode.CLOSE_FRAME and not self._still_listens(len(data), receiver):
            return
        self._headers.small = 0
        self._read(data, receiver)
        if len(data) >= LARGE_READ_BYTES:
            self.pause()
            self._read_on_soon(receiver)

    def new_interval(self) -> None:
        """Begin to count the small frames of another ping interval."""
        self._headers.new_interval()

    def heard_since(self, since: float) -> bool:
        """Say whether anything has been read since a monotonic time. While reading is paused the answer is yes: the
        client's pongs may wait unread. A dead client is found after the pause, or by TCP_USER_TIMEOUT."""
        return self._paused or self._heard_at >= since

    # When to read

    def pause(self) -> None:
        """Read nothing more, until there is room again."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def room_again(self, receiver: Receiver) -> None:
        """Read on in the next turn, if reading is paused and the receiver has room by then."""
        if self._paused:
            self._read_on_soon(receiver)

    def hold(self) -> None:
        """Read nothing more, until the connection closes."""
        if self._mode is ReadMode.MESSAGES:
            self._mode = ReadMode.HELD
            self.pause()

    def seek_close(self, receiver: Receiver, limit: int = LAST_READ_BYTES) -> None:
        """Read on, though no message is wanted: else the peer's close frame could wait in the kernel. At most `limit`
        bytes are read."""
        self._mode = max(self._mode, ReadMode.CLOSE_FRAME)
        self._last_bytes = min(self._last_bytes, limit)
        if self._last_bytes < len(self._rest):
            self._listen_no_more(receiver)
        self.room_again(receiver)

    def stop(self, receiver: Receiver) -> None:
        """Drop the rest of the last read, and every later read."""
        self._mode = ReadMode.NOTHING
        self._rest = b""
        self._begun = 0
        self._count(receiver)

    def _still_listens(self, size: int, receiver: Receiver) -> bool:
        self._last_bytes -= size
        if self._last_bytes < 0:
            self._listen_no_more(receiver)
        return self._mode is ReadMode.CLOSE_FRAME

    def _listen_no_more(self, receiver: Receiver) -> None:
        self._last_bytes = -1
        self.stop(receiver)
        self.pause()

    def _count(self, receiver: Receiver) -> None:
        waiting = len(self._rest) + self._begun
        if waiting < UNCOUNTED_BYTES:
            waiting = 0
        if waiting != self._counted:
            receiver.hold(waiting - self._counted)
            self._counted = waiting

    def _read_on_soon(self, receiver: Receiver) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._read_on, receiver)

    def _read_on(self, receiver: Receiver) -> None:
        """Handle the next part of the last read, or resume the transport if there is none."""
        self._scheduled = False
        if not self._paused or self._last_bytes < 0 or self._mode is ReadMode.HELD:
            return
        if self._mode is ReadMode.MESSAGES and not receiver.has_room():
            return  # `room_again` will be called
        if self._rest:
            rest, self._rest = self._rest, b""
            self._read(rest, receiver)
            self._read_on_soon(receiver)
        else:
            self._paused = False
            self._heard_at = time.monotonic()
            self._transport.resume_reading()

    # Frames

    def _read(self, data: bytes, receiver: Receiver) -> None:
        headers = self._headers
        if (fault := headers.fault(data)) is not None:
            if len(data) > LAST_READ_AFTER_FAULT:
                self._listen_no_more(receiver)
            receiver.break_off(CloseCode.POLICY_VIOLATION if fault in FLOODS else CloseCode.PROTOCOL_ERROR, fault)
            return
        taken = headers.taken
        if taken < len(data):
            if not headers.finished:
                self._rest = data[taken:]
                self.pause()
                self._read_on_soon(receiver)
            data = data[:taken]
        self._hand_on(data, receiver)
        if (headers.skip or headers.fragmented or self._rest or self._counted) and self._mode is not ReadMode.NOTHING:
            self._begun = min(self._begun + taken, MAX_PAYLOAD) if headers.inside else 0
            self._count(receiver)

    def _hand_on(self, data: bytes, receiver: Receiver) -> None:
        self._frames.feed_data(data)
        messages, error = self._inbox.take()
        if self._early and any(map(_is_connect, messages)):
            self._early = False
            self._headers.connects()
        for message in messages:
            if message.type is WSMsgType.CLOSE and message.data == ABNORMAL_CLOSURE:
                receiver.break_off(CloseCode.PROTOCOL_ERROR, "close code 1006")
            else:
                receiver.take(message)
        if error is not None:
            code = error.code if isinstance(error, WebSocketError) else CloseCode.PROTOCOL_ERROR
            receiver.break_off(CloseCode(code), _FAULTS.get(code, "malformed frame"))


def _is_connect(message: Any) -> bool:
    """Say whether a message is a CONNECT of Socket.IO, and no other packet, such as a pong."""
    return message.type is WSMsgType.TEXT and message.data.startswith("40")
