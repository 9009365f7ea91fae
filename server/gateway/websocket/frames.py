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
"""Frames of a client handled in a turn of the event loop, at most about 1 ms, beside large fragments; the rest of the
read waits a turn."""

BYTES_PER_TURN = 1 << 16
"""Bytes of a client handled in a turn, the last frame in full; the rest of the read waits a turn."""

SMALL_FRAME_BYTES = 8
"""A frame with a smaller payload is a small frame: no Socket.IO command fits in it."""

SMALL_FRAGMENT_BYTES = 32
"""So is a fragment with a smaller payload, if it is not the last of its message. Libraries cut at 1 KiB or more."""

MAX_SMALL_FRAMES = 1_024
"""Small frames and control frames in a single read; a read of 256 KiB holds 37,000 empty frames."""

MAX_SMALL_PER_INTERVAL = 2_048
"""The same in a ping interval. A client owes a pong for each ping; some libraries send a WebSocket ping each second."""

FRAMES_BEFORE_CONNECT = 4
"""Frames in a ping interval, until the first Socket.IO packet is complete: a CONNECT, perhaps in fragments, or behind a
pong or a ping."""

LARGE_FRAGMENT_BYTES = 1_024
"""A fragment with a payload of so many bytes, if it is not the last, is not among these frames: libraries for Go and
.NET cut a CONNECT with many positions at 4 or 8 KiB. The bound of a message holds for all of them together."""

TOO_MANY_SMALL = "too many small frames at once"
TOO_MANY_LATELY = "too many small frames"
TOO_MANY_EARLY = "too many frames before CONNECT"
FLOODS = frozenset((TOO_MANY_SMALL, TOO_MANY_LATELY, TOO_MANY_EARLY))
"""Faults that are no errors of the protocol."""

_UNLIMITED = 1 << 62


class HeaderCheck:
    """Follows the headers of a client's frames through a stream of reads, and finds the faults that the reader accepts.

    The reader takes unmasked frames (RFC 6455, section 5.1: a server must close) and a new message that begins inside a
    fragmented one whose first fragment was empty (section 5.4). It also takes any number of frames at once: after each
    call of `fault`, hand only the first `taken` bytes on, and the others to the next call, in another turn of the loop.
    """

    __slots__ = {
        "_head": "The part of a header that ended the last read.",
        "_left": "Frames that may still come in this ping interval, before a CONNECT.",
        "finished": "Whether a close frame has come: nothing that follows counts (RFC 6455, section 5.5.1).",
        "fragmented": "Whether the last message is not complete yet.",
        "lately": "Small frames of this ping interval.",
        "skip": "Bytes of a payload that are still to come.",
        "small": "Small frames of this read. The caller sets it to 0 at the next.",
        "taken": "Bytes that the last call has looked at.",
    }

    def __init__(self) -> None:
        self.fragmented = self.finished = False
        self._head = b""
        self.skip = self.small = self.lately = self.taken = 0
        self._left = FRAMES_BEFORE_CONNECT

    @property
    def inside(self) -> bool:
        """Whether a message has begun that is not complete."""
        return self.fragmented or self.skip > 0

    def new_interval(self) -> None:
        """Begin to count anew: the client has been sent another ping."""
        self.lately = 0
        self._left = max(self._left, FRAMES_BEFORE_CONNECT)

    def connects(self) -> None:
        """Take any number of frames from now on: the client has sent its CONNECT."""
        self._left = _UNLIMITED

    def fault(self, data: bytes) -> str | None:
        """Return the fault of the first frames in these bytes, None if they have none. At most `FRAMES_PER_TURN` frames
        are looked at, and none behind `BYTES_PER_TURN` or a close frame."""
        limit = FRAMES_PER_TURN if self._left > FRAMES_PER_TURN else self._early_limit(self._head or data)
        if limit is None:
            return TOO_MANY_EARLY
        carried = len(self._head)
        if carried:
            data, self._head = self._head + data, b""
        at, size, frames = self.skip, len(data), 0
        while at + 1 < size and frames < limit and at < BYTES_PER_TURN and not self.finished:
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
            if length < LARGE_FRAGMENT_BYTES or not self.fragmented:
                frames += 1
        if at < size and not self.finished and frames < limit and at < BYTES_PER_TURN:
            self._head, at = data[at:], size
        self._left -= frames
        self.skip = max(at - size, 0)
        self.taken = min(at, size) - carried
        return None

    def _early_limit(self, data: bytes) -> int | None:
        """Return how many frames may come now, before a CONNECT; None if none may. A client may always close."""
        if self._left > 0 or self.skip:
            return max(self._left, 0)
        return 1 if data[0] & _OPCODE == Opcode.CLOSE else None

    def _sequence(self, first: int, length: int) -> str | None:
        opcode, final = first & _OPCODE, bool(first & _FIN)
        control = opcode >= Opcode.CLOSE
        if control or length < (SMALL_FRAME_BYTES if final else SMALL_FRAGMENT_BYTES):
            ends = final and self.fragmented and not control  # counted as the fragment before it was
            if not ends and (fault := self._count_small()) is not None:
                return fault
        if control:
            self.finished = opcode == Opcode.CLOSE
            return None
        if self.fragmented and opcode != 0:
            return "a message begins inside another one"
        self.fragmented = not final
        return None

    def _count_small(self) -> str | None:
        self.small += 1
        self.lately += 1
        if self.small > MAX_SMALL_FRAMES:
            return TOO_MANY_SMALL
        return TOO_MANY_LATELY if self.lately > MAX_SMALL_PER_INTERVAL else None


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
