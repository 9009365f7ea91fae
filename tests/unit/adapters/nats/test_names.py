"""Texts as parts of NATS' subjects."""

from hypothesis import given
from hypothesis import strategies as st

from server.adapters.nats.names import escaped, unescaped


@given(st.text())
def test_a_part_is_the_text(text: str) -> None:
    """Whatever stands in it, and nothing that NATS would read as its own."""
    part = escaped(text)
    assert unescaped(part) == text
    assert not set(part) & set(" .*>\t\r\n\\/")


def test_channels_are_readable() -> None:
    """In the tools of NATS."""
    assert escaped("room:42") == "room:42"
    assert escaped("dm:a.b") == "dm:a=2E;b"
