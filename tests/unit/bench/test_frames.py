"""Frames as the load side writes and reads them."""

import pytest

from bench.frames import MARKER, masked, payloads, text_of


def unmasked(payload: bytes) -> bytes:
    """A server's frame."""
    frame = bytearray(masked(payload))
    frame[1] &= 0x7F
    head = len(frame) - len(payload)
    del frame[head - 4 : head]
    return bytes(frame)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_every_length_has_its_head(size: int) -> None:
    """A frame of each of the three kinds of length is read back whole."""
    assert payloads(unmasked(b"x" * size)) == [b"x" * size]


def test_a_stream_is_cut_into_its_frames() -> None:
    """Frames that came in one read are told apart."""
    stream = b"".join(map(unmasked, (b"2", b"a" * 300, b"42")))
    assert payloads(stream) == [b"2", b"a" * 300, b"42"]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 200])
def test_a_frame_that_is_cut_off_is_left_out(cut: int) -> None:
    """What has come of it is not taken for a frame."""
    stream = unmasked(b"whole") + unmasked(b"a" * 300)[:cut]
    assert payloads(stream) == [b"whole"]


def test_a_clients_frame_is_masked_with_zeros() -> None:
    """The mask bit is set, and the payload stands as it is."""
    assert masked(b"3") == b"\x81\x81\0\0\0\x003"


@pytest.mark.parametrize("size", [1, 64, 4_000])
def test_a_text_has_one_marker(size: int) -> None:
    """It is as long as was asked, and is counted once."""
    text = text_of(size).encode()
    assert (len(text), text.count(MARKER)) == (size, 1)
