"""Frames of the server, and the check of a client's frame headers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.frames import Opcode as Op
from loadtest.frames import header
from server.gateway.websocket.frames import (
    BYTES_PER_TURN,
    FRAMES_BEFORE_CONNECT,
    FRAMES_PER_TURN,
    LARGE_FRAGMENT_BYTES,
    MAX_CONTROL_BYTES,
    MAX_SMALL_FRAMES,
    MAX_SMALL_PER_INTERVAL,
    TOO_MANY_EARLY,
    TOO_MANY_LATELY,
    TOO_MANY_SMALL,
    HeaderCheck,
    Opcode,
    close_frame,
    frame,
)
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


def checking() -> HeaderCheck:
    """A check of a client that has sent its CONNECT."""
    check = HeaderCheck()
    check.connects()
    return check


def verdict(pieces: list[bytes]) -> str | None:
    """The first fault in a stream of reads."""
    check = checking()
    for piece in pieces:
        rest = piece
        while rest and not check.finished:
            if (fault := check.fault(rest)) is not None:
                return fault
            rest = rest[check.taken :]
    return None


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


def turns(check: HeaderCheck, data: bytes) -> list[int]:
    """The bytes that each turn takes of one read without a fault."""
    taken = []
    while data:
        assert check.fault(data) is None
        taken.append(check.taken)
        data = data[check.taken :]
    return taken


@pytest.mark.parametrize("payload", [b"", b"3", b"x" * 200])
def test_one_turn_takes_a_bounded_number_of_frames(payload: bytes) -> None:
    """A read of many frames is taken in portions that end between two frames; so is a read that ends inside one."""
    one = masked(payload)
    data = one * (FRAMES_PER_TURN * 2 + 1)
    assert turns(checking(), data) == [len(one) * FRAMES_PER_TURN] * 2 + [len(one)]
    check = checking()
    assert turns(check, data[:-1]) == [len(one) * FRAMES_PER_TURN] * 2 + [len(one) - 1]
    assert turns(check, data[-1:] + one) == [1 + len(one)]
    assert check.fault(unmasked("2")) == UNMASKED


def test_one_turn_takes_a_bounded_number_of_bytes() -> None:
    """The frame that reaches the bound is taken in full."""
    one = masked("x" * 60_000)
    assert turns(checking(), one * 5) == [len(one) * 2] * 2 + [len(one)]
    assert turns(checking(), masked("x" * BYTES_PER_TURN) * 2) == [len(masked("x" * BYTES_PER_TURN))] * 2


SMALL = {
    "pongs of Engine.IO": masked("3"),
    "pongs": masked(b"", Op.PONG),
    "pings": masked(b"1234567", Op.PING),
    "the largest pings": masked(b"p" * 125, Op.PING),
    "empty fragments": masked("", Op.CONTINUATION, final=False),
    "fragments": masked("x" * 31, Op.CONTINUATION, final=False),
    "empty messages": masked(""),
}


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_a_read_has_a_bounded_number_of_small_frames(small: bytes) -> None:
    """As many as the bound pass; one more is a fault. Another read may have as many."""
    check = checking()
    begin = b"" if small[0] & 0x0F else masked("x" * 32, final=False)
    turns(check, begin + small * MAX_SMALL_FRAMES)
    assert check.fault(small) == TOO_MANY_SMALL
    check.small = check.lately = 0
    turns(check, small * MAX_SMALL_FRAMES)


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_a_ping_interval_has_a_bounded_number_of_small_frames(small: bytes) -> None:
    """However few come in each read. Another interval may have as many."""
    check = checking()
    begin = b"" if small[0] & 0x0F else masked("x" * 32, final=False)
    turns(check, begin)
    for _ in range(MAX_SMALL_PER_INTERVAL):
        check.small = 0
        turns(check, small)
    check.small = 0
    assert check.fault(small) == TOO_MANY_LATELY
    check.small = 0
    check.new_interval()
    turns(check, small)


def test_commands_are_not_small() -> None:
    """No number of the shortest commands in one read is a fault; nor of messages in fragments of a usual size, even if
    the last fragment is empty, as some libraries have it."""
    check = checking()
    turns(check, masked('42["a",1]') * (MAX_SMALL_FRAMES * 4))
    turns(check, fragmented("x" * 40, [40]) * (MAX_SMALL_PER_INTERVAL * 2))
    assert check.small == 0


EARLY = {
    "pongs of Engine.IO": masked("3"),
    "pongs": masked(b"", Op.PONG),
    "large messages": masked("x" * 40_000),
    "small fragments": masked("x" * (LARGE_FRAGMENT_BYTES - 1), 0x0, final=False),
}


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
def test_a_few_frames_may_come_before_a_connect(early: bytes) -> None:
    """In one read or in several; as soon as the CONNECT is there, any number."""
    for pieces in ([early * 5], [early] * 5, [early[:3], early[3:] + early * 4]):
        check = HeaderCheck()
        taken = 0
        verdict = None
        for piece in pieces:
            rest = piece
            while rest and (verdict := check.fault(rest)) is None:
                taken += check.taken
                rest = rest[check.taken :]
        assert (verdict, taken) == (TOO_MANY_EARLY, len(early) * FRAMES_BEFORE_CONNECT)
    check = HeaderCheck()
    assert check.fault(early * 4) is None
    check.connects()
    turns(check, early * 50)


def test_a_client_that_waits_for_its_token_may_answer_pings() -> None:
    """However many intervals that takes; a fifth frame in one of them is too many."""
    check = HeaderCheck()
    for _ in range(20):
        turns(check, masked("3") * FRAMES_BEFORE_CONNECT)
        check.new_interval()
    turns(check, masked("3") * FRAMES_BEFORE_CONNECT)
    assert check.fault(masked("3")) == TOO_MANY_EARLY


def test_a_client_may_always_close() -> None:
    """Its close frame is taken, also in two pieces, when no other frame would be."""
    early, close = masked("3") * FRAMES_BEFORE_CONNECT, closing(1000)
    for cut_at in range(len(close) + 1):
        check = HeaderCheck()
        turns(check, early)
        turns(check, close[:cut_at])
        turns(check, close[cut_at:])
        assert check.finished


def test_the_last_early_frame_may_come_in_pieces() -> None:
    """It may be the CONNECT."""
    check = HeaderCheck()
    stream = masked("3") * 3 + masked("4" + "x" * 300)
    for cut_at in range(1, len(stream)):
        check = HeaderCheck()
        turns(check, stream[:cut_at])
        turns(check, stream[cut_at:])
        assert not check.inside


def test_nothing_is_taken_behind_a_close_frame() -> None:
    """Neither of the same read nor of a later one, also if the close frame comes in two reads."""
    close = closing(1000, "bye")
    for cut_at in range(1, len(close) + 1):
        check = checking()
        check.fault(masked("2") + close[:cut_at])
        assert check.taken == len(masked("2")) + cut_at
        check.fault(close[cut_at:] + masked("2") * 9)
        assert (check.taken, check.finished) == (len(close) - cut_at, True)
        check.fault(masked("2"))
        assert check.taken == 0
