"""What is written is what the server reads; what the server writes is read however TCP cuts it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import wire
from loadtest.wire import Frames, Head, Opcode, WireError

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def unmasked(payload: bytes, opcode: int = Opcode.TEXT, first: int = 0x80) -> bytes:
    """A server's frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first | opcode, 126, size) + payload
    return struct.pack("!BBQ", first | opcode, 127, size) + payload


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
        unmasked(b"one ", first=0)
        + unmasked(b"", Opcode.PING)
        + unmasked(b"two ", Opcode.CONTINUATION, first=0)
        + unmasked(b"three", Opcode.CONTINUATION)
    )
    assert Frames().feed(stream) == [(Opcode.PING, b""), (Opcode.TEXT, b"one two three")]


@pytest.mark.parametrize(
    "data",
    [
        wire.frame(b"masked"),
        struct.pack("!BBQ", 0x81, 127, wire.MESSAGE_LIMIT + 1),
        unmasked(b"compressed", first=0xC0),
    ],
)
def test_what_no_server_may_send(data: bytes) -> None:
    """A masked frame, an endless one, and one of an extension that was not asked for."""
    with pytest.raises(WireError):
        Frames().feed(data)


def test_fragments_without_end_are_given_up() -> None:
    """Memory is bounded."""
    frames = Frames()
    piece = unmasked(b"x" * (1 << 20), Opcode.CONTINUATION, first=0)
    for _ in range(wire.MESSAGE_LIMIT // (1 << 20)):
        frames.feed(piece)
    with pytest.raises(WireError, match="more than"):
        frames.feed(piece)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_carries_its_payload(size: int) -> None:
    """The mask is zero, so the payload stands there as it is."""
    payload = b"x" * size
    made = wire.frame(payload)
    assert made.endswith(payload)
    assert made[0] == 0x81
    assert made[1] & 0x80
    assert len(made) - size == 2 + 4 + (0 if size < 126 else 2 if size < 1 << 16 else 8)


class TestHead:
    """The answer to the handshake."""

    def test_the_rest_is_the_websocket(self) -> None:
        """Frames may stand in the same read; before the end there is nothing to say."""
        assert Head.parse(SWITCHING[:-1]) is None
        assert Head.parse(SWITCHING + b"more") == Head(101, 0.0, b"more")

    def test_a_refusal_says_when_to_come_back(self) -> None:
        """`Retry-After` in seconds."""
        head = Head.parse(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n")
        assert head == Head(503, 2.0, b"")

    @pytest.mark.parametrize(
        "data",
        [
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"x" * (wire.HEAD_LIMIT + 1),
            SWITCHING.replace(b"s3pP", b"0000"),
        ],
    )
    def test_what_is_no_websocket_server(self, data: bytes) -> None:
        """Another protocol, an endless head, and an answer to another key."""
        with pytest.raises(WireError):
            Head.parse(data)


class TestPackets:
    """Socket.IO."""

    def test_the_token_stands_in_connect_alone(self) -> None:
        """Never in the URL."""
        assert b"token" not in wire.request("host:1")
        assert wire.connect("SECRET", {}) == wire.frame(b'40/chat,{"token":"SECRET"}')
        assert b'"resume":{"a":1}' in wire.connect("SECRET", {"a": 1})

    def test_events_and_acks_are_parsed(self) -> None:
        """Name, number, object."""
        assert wire.parse_event(b'42/chat,["message:created",{"a":1}]') == ("message:created", {"a": 1})
        assert wire.parse_ack(b'43/chat,17[{"ok":true}]') == (17, {"ok": True})
        assert wire.parse_object(b'44/chat,{"message":"m"}', wire.CONNECT_ERROR) == {"message": "m"}
        assert wire.command(3, "a:b", {"c": 1}) == wire.frame(b'42/chat,3["a:b",{"c":1}]')

    @pytest.mark.parametrize("packet", [b"42/chat,", b"42/chat,[1,{}]", b'42/chat,["a",1]', b'42/chat,["a",{},1]'])
    def test_what_is_no_event(self, packet: bytes) -> None:
        """No JSON, no name, no object, too much."""
        with pytest.raises(WireError):
            wire.parse_event(packet)

    @pytest.mark.parametrize(
        "packet", [b"43/chat,", b"43/chat,[{}]", b"43/chat,1[]", b"43/chat,1[1]", b"43/chat,x[{}]"]
    )
    def test_what_is_no_ack(self, packet: bytes) -> None:
        """No number, no object."""
        with pytest.raises(WireError):
            wire.parse_ack(b"43/chat," + packet)

    def test_what_is_no_object(self) -> None:
        """A list where an object belongs."""
        with pytest.raises(WireError):
            wire.parse_object(b"0[]", wire.OPEN)

    def test_close_codes(self) -> None:
        """Ours can be read as theirs are; without a code it is 1005."""
        assert wire.close_code(wire.closing(1012)[6:]) == 1012
        assert wire.close_code(b"") == 1005
