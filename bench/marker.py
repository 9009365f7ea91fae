"""The marker by which deliveries are counted. Pure."""

MARKER = b"^"
"""Stands exactly once in each message, so deliveries are counted without parsing, wherever a read cuts the stream."""


def text_of(size: int) -> str:
    """Return a message's text of `size` ASCII characters, at least one, with one marker in it."""
    return MARKER.decode() + "m" * (size - 1)
