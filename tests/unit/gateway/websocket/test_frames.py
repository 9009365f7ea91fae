"""Frames of the server, and the check of a client's frame headers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.frames import Opcode as Op
from loadtest.frames import header
from server.gateway.websocket.frames import MAX_CONTROL_BYTES, HeaderCheck, Opcode, close_frame, frame
from tests.clients.frames import closing, fragmented, masked, unmasked

UNMASKED = "frame is not masked"
NESTED = "a message begins inside another one"

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]

GOOD = {
    "one message": masked("2"),
    "empty message": masked(""),
    "16-bit length": masked("x" * 126),
    "64-bit length": masked("x" * 65_536),
    "close": closing(1000),
    "fragments": fragmented("hello", [1, 2]),
    "empty fragments": fragmented("hello", [0, 0, 5]),
    "ping between fragments": fragmented("hello", [2], between=masked(b"p", Op.PING)),
    "anything after a close": closing(1000) + unmasked("2") + masked("a", final=False) + masked("b"),
    "a message after a fragmented one": fragmented("hello", [2]) + masked("again"),
}

BAD = {
    "unmasked": (unmasked("2"), UNMASKED),
    "unmasked, empty": (unmasked(""), UNMASKED),
    "unmasked, 16-bit length": (unmasked("x" * 200), UNMASKED),
    "unmasked, 64-bit length": (unmasked("x" * 65_536), UNMASKED),
    "unmasked ping": (unmasked(b"", Op.PING), UNMASKED),
    "unmasked after masked": (masked("x" * 300) + unmasked("2"), UNMASKED),
    "text inside text": (masked("a", final=False) + masked("b"), NESTED),
    "text inside an empty first fragment": (masked("", final=False) + masked("b"), NESTED),
    "a second first fragment": (masked("a", final=False) + masked("b", final=False), NESTED),
    "text inside text, after a ping": (masked("a", final=False) + masked("", Op.PING) + masked("b"), NESTED),
}


def verdict(pieces: list[bytes]) -> str | None:
    """The first fault in a stream of reads."""
    check = HeaderCheck()
    return next((fault for piece in pieces if (fault := check.fault(piece)) is not None), None)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces."""
    return [stream[begin:end] for begin, end in itertools.pairwise([0, *sorted(places), len(stream)])]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", list(Opcode))
def test_frame_has_the_shortest_header(size: int, opcode: Opcode) -> None:
    """A frame is final, unmasked, and says its length in the fewest bytes (RFC 6455, section 5.2)."""
    assert frame(b"x" * size, opcode) == header(size, opcode, mask=False) + b"x" * size


def test_close_frame_is_cut_to_a_control_frame() -> None:
    """A close frame never exceeds 125 bytes, and its reason is ASCII."""
    assert close_frame(1008, "no") == b"\x88\x04\x03\xf0no"
    assert close_frame(1000, "é") == b"\x88\x03\x03\xe8?"
    assert close_frame(1000, "x" * 500)[1] == MAX_CONTROL_BYTES


@pytest.mark.parametrize("stream", GOOD.values(), ids=GOOD)
def test_sound_streams_have_no_fault(stream: bytes) -> None:
    """What RFC 6455 allows passes, read whole or byte by byte."""
    assert verdict([stream]) is None
    assert verdict(cut(stream, list(range(1, len(stream))))) is None


@pytest.mark.parametrize(("stream", "fault"), BAD.values(), ids=BAD)
def test_faults_are_found(stream: bytes, fault: str) -> None:
    """Unmasked frames and nested messages are found, read whole or byte by byte."""
    assert verdict([stream]) == fault
    assert verdict(cut(stream, list(range(1, len(stream))))) == fault


@pytest.mark.parametrize(("stream", "fault"), [*((good, None) for good in GOOD.values()), *BAD.values()])
def test_a_split_at_any_byte_changes_nothing(stream: bytes, fault: str | None) -> None:
    """The verdict is the same wherever the stream is cut in two."""
    places = range(len(stream) + 1) if len(stream) < 1_000 else [*range(60), *range(len(stream) - 60, len(stream))]
    assert {verdict(cut(stream, [place])) for place in places} == {fault}


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, str | None]:
    """A stream of messages with control frames between the fragments; at the end perhaps a fault."""
    stream = b""
    for _ in range(draw(st.integers(0, 6))):
        payload = b"\x00" * draw(st.sampled_from([0, 1, 5, 125, 126, 200, 65_535, 65_536]))
        cuts = draw(st.lists(st.integers(0, len(payload)), max_size=3))
        between = draw(st.sampled_from([b"", masked(b"", Op.PING), masked(b"pong", Op.PONG)]))
        stream += fragmented(payload, cuts, between)
    tail, fault = draw(st.sampled_from([(b"", None), *((bytes_, fault) for bytes_, fault in BAD.values())]))
    return stream + tail, fault


@given(st.data())
def test_any_stream_cut_anywhere_has_the_same_verdict(data: st.DataObject) -> None:
    """Random streams of frames, cut at random, are judged as they are when they come in one read."""
    stream, fault = data.draw(streams())
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert verdict([stream]) == fault
    assert verdict(cut(stream, places)) == fault
