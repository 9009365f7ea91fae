"""Frames that a well-behaved client does not write: under any mask or none, in fragments, with reserved bits.

Built on the headers of `loadtest.frames`, which also has the reader. `unmasked` frames are those of a server.
"""

import itertools
import struct
from collections.abc import Iterable

from loadtest.frames import Opcode, header

MASK = b"\x37\xfa\x21\x3d"  # the example of RFC 6455, section 5.7


def as_bytes(payload: bytes | str) -> bytes:
    """Encode text as UTF-8; leave bytes as they are."""
    return payload.encode() if isinstance(payload, str) else payload


def masked(
    payload: bytes | str, opcode: int = Opcode.TEXT, *, final: bool = True, reserved: int = 0, mask: bytes = MASK
) -> bytes:
    """Write one frame of a client."""
    data = as_bytes(payload)
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    hidden = (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return header(size, opcode, final=final, reserved=reserved) + mask + hidden


def unmasked(payload: bytes | str, opcode: int = Opcode.TEXT, *, final: bool = True, reserved: int = 0) -> bytes:
    """Write one frame of a server, which no client may send."""
    data = as_bytes(payload)
    return header(len(data), opcode, final=final, reserved=reserved, mask=False) + data


def fragmented(payload: bytes | str, cuts: Iterable[int], between: bytes = b"", opcode: int = Opcode.TEXT) -> bytes:
    """Write one message in several frames, cut at the given places; put `between` (control frames) between each two."""
    data = as_bytes(payload)
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    frames = [
        masked(piece, opcode if index == 0 else Opcode.CONTINUATION, final=index == len(pieces) - 1)
        for index, piece in enumerate(pieces)
    ]
    return between.join(frames)


def closing(code: int | None = None, reason: bytes | str = b"") -> bytes:
    """Write a client's close frame."""
    return masked(b"" if code is None else struct.pack("!H", code) + as_bytes(reason), Opcode.CLOSE)
