"""WebSocket frames (RFC 6455, section 5): writing them, and the checks that aiohttp's reader leaves out."""

import struct
from enum import IntEnum


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_FIN = 0x80
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16 = 126
_LENGTH_64 = 127
_MASK_BYTES = 4
_HEADER_16 = struct.Struct("!BBH").pack
_HEADER_64 = struct.Struct("!BBQ").pack
MAX_CONTROL_BYTES = 125
"""The longest payload of a control frame (RFC 6455, section 5.5)."""


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """Return a whole, unmasked frame, as a server sends it."""
    return header(len(payload), opcode) + payload


def header(size: int, opcode: Opcode = Opcode.TEXT) -> bytes:
    """Return what stands before a payload of this size in an unmasked frame."""
    if size < _LENGTH_16:
        return bytes((_FIN | opcode, size))
    if size < 1 << 16:
        return _HEADER_16(_FIN | opcode, _LENGTH_16, size)
    return _HEADER_64(_FIN | opcode, _LENGTH_64, size)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame. `reason` is ASCII, and is cut if it is longer than a control frame can carry."""
    payload = struct.pack("!H", code) + reason.encode("ascii", "replace")
    return frame(payload[:MAX_CONTROL_BYTES], Opcode.CLOSE)


FRAMES_PER_TURN = 256
"""Frames of a client handled in a turn of the event loop, at most about 1 ms; the rest of the read waits a turn."""

SMALL_FRAME_BYTES = 8
"""A frame with a smaller payload is a small frame: no Socket.IO command fits in it."""

MAX_SMALL_FRAMES = 1_024
"""Small frames in a single read. A client has one pong for each ping; a read of 256 KiB holds 37,000 empty frames."""

TOO_MANY_SMALL = "too many small frames at once"


class HeaderCheck:
    """Follows the headers of a client's frames through a stream of reads, and finds the faults that the reader accepts.

    The reader takes unmasked frames (RFC 6455, section 5.1: a server must close) and a new message that begins inside a
    fragmented one whose first fragment was empty (section 5.4). It also takes any number of frames at once: after each
    call of `fault`, hand only the first `taken` bytes on, and the others to the next call, in another turn of the loop.
    """

    __slots__ = {
        "_fragmented": "Whether the last message is not complete yet.",
        "_head": "The part of a header that ended the last read.",
        "_skip": "Bytes of a payload that are still to come.",
        "finished": "Whether a close frame has come: nothing that follows counts (RFC 6455, section 5.5.1).",
        "small": "Small frames of this read. The caller sets it to 0 at the next.",
        "taken": "Bytes that the last call has looked at.",
    }

    def __init__(self) -> None:
        self._fragmented = self.finished = False
        self._head = b""
        self._skip = self.small = self.taken = 0

    def fault(self, data: bytes) -> str | None:
        """Return the fault of the first frames in these bytes, None if they have none. At most `FRAMES_PER_TURN` frames
        are looked at, and none behind a close frame."""
        carried = len(self._head)
        if carried:
            data, self._head = self._head + data, b""
        at, size, frames = self._skip, len(data), 0
        while at + 1 < size and frames < FRAMES_PER_TURN and not self.finished:
            length = data[at + 1] & _LENGTH
            extra = 2 if length == _LENGTH_16 else 8 if length == _LENGTH_64 else 0
            body = at + 2 + extra + _MASK_BYTES
            if not data[at + 1] & _MASKED:
                return "frame is not masked"
            if body - _MASK_BYTES > size:
                break
            if extra:
                length = int.from_bytes(data[at + 2 : at + 2 + extra], "big")
            if (fault := self._sequence(data[at], length)) is not None:
                return fault
            at = body + length
            frames += 1
        if at < size and not self.finished and frames < FRAMES_PER_TURN:
            self._head, at = data[at:], size
        self._skip = max(at - size, 0)
        self.taken = min(at, size) - carried
        return None

    def _sequence(self, first: int, length: int) -> str | None:
        opcode, final = first & _OPCODE, bool(first & _FIN)
        if length < SMALL_FRAME_BYTES:
            self.small += 1
            if self.small > MAX_SMALL_FRAMES:
                return TOO_MANY_SMALL
        if opcode >= Opcode.CLOSE:
            self.finished = opcode == Opcode.CLOSE
            return None
        if self._fragmented and opcode != 0:
            return "a message begins inside another one"
        self._fragmented = not final
        return None


class CloseCode(IntEnum):
    """Why a WebSocket is closed (PROTOCOL.md, "Closing"; RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001  # never sent; a client may get it from a proxy
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class HostilePacket(Exception):
    """The client broke the protocol: close its WebSocket with `code`. The text never repeats the packet."""

    def __init__(self, problem: str, code: CloseCode = CloseCode.POLICY_VIOLATION) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code = code
