"""The bytes that a client sends to each kind of server."""

import jwt
import pytest

from bench.client_protocols import ENVELOPE_BYTES, OWN_BYTES, PROTOCOLS, content, padding
from bench.marker import MARKER
from bench.worker import mint

SECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize("protocol", ["maru", "socket.io", "nats", "jetstream", "nchan", "centrifugo"])
@pytest.mark.parametrize("size", [1, 64, 4_000, 8_192])
def test_a_message_has_one_marker(protocol: str, size: int) -> None:
    """So each is counted once, whatever its size."""
    assert PROTOCOLS[protocol].publish("room:0", size).count(MARKER) == 1


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_what_is_said_before_has_no_marker(protocol: str) -> None:
    """Handshakes, joins and questions are not taken for messages."""
    found = PROTOCOLS[protocol]
    lines = found.connect("room:0") + found.join("room:0")
    assert all(MARKER not in line.say for line in lines)
    assert MARKER not in found.ask + found.pong


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [
        ("maru", b'43/chat,2[{"ok":true,"message":{"text":"^mmm"},"duplicate":false}]'),
        ("socket.io", b'43/chat,2[{"ok":true}]'),
        ("centrifugo", b'{"id":3,"publish":{}}'),
        ("jetstream", b'MSG _INBOX.user-1 9 28\r\n{"stream":"ROOMS", "seq":17}\r\n'),
    ],
)
def test_an_ack_has_its_mark_once(protocol: str, answer: bytes) -> None:
    """And a refusal has none."""
    mark = PROTOCOLS[protocol].acked
    assert answer.count(mark) == 1
    for refusal in (b'43/chat,2[{"ok":false,"error":"rate"}]', b'{"id":3,"error":{"code":103}}', b"-ERR\r\n"):
        assert mark not in refusal


def test_a_stream_answers_each_client_in_its_own_inbox() -> None:
    """The client asks for the inbox when it connects, and names it in each message."""
    found = PROTOCOLS["jetstream"]
    assert found.publish_as is not None
    message = found.publish_as("user-7", "room:0", 64)
    assert b"SUB _INBOX.user-7 9\r\n" in found.connect("user-7")[1].say
    assert b"PUB room.0 _INBOX.user-7 64\r\n" in message
    assert message.count(MARKER) == 1


def test_a_token_has_grants_only_where_they_are_read() -> None:
    """Centrifugo takes the same claim for a list of names, and refuses Maru's."""
    claims = [jwt.decode(mint(SECRET, "alice", grants=grants), SECRET, ["HS256"]) for grants in (True, False)]
    assert ["channels" in claim for claim in claims] == [True, False]
    assert not PROTOCOLS["centrifugo"].grants


@pytest.mark.parametrize("size", [64, 8_192])
def test_content_is_as_long_as_asked(size: int) -> None:
    """The rest of a text that is too long goes into data."""
    made = content(size)
    rest = made.get("data", {"rest": ""})
    assert isinstance(rest, dict)
    assert len(str(made["text"])) + len(rest["rest"]) == size


@pytest.mark.parametrize("protocol", sorted(OWN_BYTES))
def test_a_peer_is_padded_to_the_weight_of_an_event(protocol: str) -> None:
    """Its own head and the padding come to Maru's envelope."""
    assert OWN_BYTES[protocol] + padding(protocol) == ENVELOPE_BYTES
