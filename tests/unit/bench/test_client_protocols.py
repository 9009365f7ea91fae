"""The bytes that a client sends to each kind of server."""

import pytest

from bench.client_protocols import ENVELOPE_BYTES, OWN_BYTES, PROTOCOLS, content, padding
from bench.marker import MARKER


@pytest.mark.parametrize("protocol", ["maru", "socket.io", "nats", "nchan"])
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
