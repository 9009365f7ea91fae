"""Frames: what the server writes is read however TCP cuts it; what a client writes is as the RFC draws it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.frames import MESSAGE_LIMIT, Frames, Opcode, WireError, close_code, closing, frame, header
from tests.clients.frames import unmasked

sizes = st.sampled_from([0, 1, 125, 126, 300])


@given(st.lists(sizes, min_size=1, max_size=5), st.integers(1, 200))
def test_frames_are_found_however_they_are_cut(lengths: list[int], step: int) -> None:
    """Short and long headers, and reads of any length."""
    payloads = [bytes([65 + number]) * size for number, size in enumerate(lengths)]
    stream = b"".join(map(unmasked, payloads))
    frames = Frames()
    found = [each for at in range(0, len(stream), step) for each in frames.feed(stream[at : at + step])]
    assert found == [(Opcode.TEXT, payload) for payload in payloads]


def test_the_longest_header_is_cut_too() -> None:
    """A replay has more than 65,535 bytes."""
    stream, frames = unmasked(b"x" * 70_000), Frames()
    assert [frames.feed(piece) for piece in (stream[:1], stream[1:9], stream[9:60_000])] == [[], [], []]
    assert frames.feed(stream[60_000:]) == [(Opcode.TEXT, b"x" * 70_000)]


def test_fragments_are_put_together() -> None:
    """A control frame may stand between them."""
    stream = (
        unmasked(b"one ", final=False)
        + unmasked(b"", Opcode.PING)
        + unmasked(b"two ", Opcode.CONTINUATION, final=False)
        + unmasked(b"three", Opcode.CONTINUATION)
    )
    assert Frames().feed(stream) == [(Opcode.PING, b""), (Opcode.TEXT, b"one two three")]


@pytest.mark.parametrize(
    "data",
    [
        frame(b"masked"),
        struct.pack("!BBQ", 0x81, 127, MESSAGE_LIMIT + 1),
        unmasked(b"compressed", reserved=4),
        unmasked(b"", Opcode.PONG, final=False),
    ],
)
def test_what_no_server_may_send(data: bytes) -> None:
    """A masked frame, an endless one, one of an extension that was not asked for, and a control frame in fragments."""
    with pytest.raises(WireError):
        Frames().feed(data)


def test_fragments_without_end_are_given_up() -> None:
    """Memory is bounded."""
    frames = Frames()
    piece = unmasked(b"x" * (1 << 20), Opcode.CONTINUATION, final=False)
    for _ in range(MESSAGE_LIMIT // (1 << 20)):
        frames.feed(piece)
    with pytest.raises(WireError, match="more than"):
        frames.feed(piece)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_carries_its_payload(size: int) -> None:
    """The mask is zero, so the payload stands there as it is."""
    payload = b"x" * size
    made = frame(payload)
    assert made.endswith(payload)
    assert made[0] == 0x81
    assert made[1] & 0x80
    assert len(made) - size == 2 + 4 + (0 if size < 126 else 2 if size < 1 << 16 else 8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, b"\x81\x80"),
        (125, b"\x81\xfd"),
        (126, b"\x81\xfe\x00\x7e"),
        (65_535, b"\x81\xfe\xff\xff"),
        (65_536, b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_header_says_the_length_in_the_fewest_bytes(size: int, expected: bytes) -> None:
    """Byte for byte as RFC 6455, section 5.2, draws it."""
    assert header(size) == expected


def test_a_header_can_say_everything_else() -> None:
    """A fragment, reserved bits, another opcode, no mask."""
    assert header(1, Opcode.PING, final=False, reserved=7, mask=False) == b"\x79\x01"


def test_close_codes() -> None:
    """Ours can be read as theirs are; without a code it is 1005."""
    assert close_code(closing(1012)[6:]) == 1012
    assert close_code(b"") == 1005
