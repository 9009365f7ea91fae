"""What a client writes is what the server reads; what the server writes is read, and nothing else."""

import pytest

from loadtest import wire
from loadtest.frames import WireError, frame
from loadtest.wire import Head

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


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
        assert wire.connect("SECRET", {}) == frame(b'40/chat,{"token":"SECRET"}')
        assert b'"resume":{"a":1}' in wire.connect("SECRET", {"a": 1})

    def test_events_and_acks_are_parsed(self) -> None:
        """Name, number, object."""
        assert wire.parse_event(b'42/chat,["message:created",{"a":1}]') == ("message:created", {"a": 1})
        assert wire.parse_ack(b'43/chat,17[{"ok":true}]') == (17, {"ok": True})
        assert wire.parse_object(b'44/chat,{"message":"m"}', wire.CONNECT_ERROR) == {"message": "m"}
        assert wire.command(3, "a:b", {"c": 1}) == frame(b'42/chat,3["a:b",{"c":1}]')

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
