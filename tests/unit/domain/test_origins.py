"""The server's own origin: the same host and port as the request was sent to."""

import pytest

from server.domain.origins import is_own

OWN = [
    ("http://10.0.2.2:8080", "10.0.2.2:8080"),
    ("https://chat.example.com", "chat.example.com"),
    ("https://chat.example.com", "chat.example.com:443"),
    ("https://chat.example.com:443", "chat.example.com"),
    ("http://chat.example.com", "chat.example.com:80"),
    ("https://Chat.Example.com", "chat.example.COM"),
    ("ws://chat.example.com:8080", "chat.example.com:8080"),
    ("wss://chat.example.com", "chat.example.com"),
    ("http://[::1]:8080", "[::1]:8080"),
    ("http://[::1]", "[::1]"),
]

FOREIGN = [
    ("https://evil.example.com", "chat.example.com"),
    ("https://chat.example.com.evil.example", "chat.example.com"),
    ("https://evil.example?chat.example.com", "chat.example.com"),
    ("https://chat.example.com:8443", "chat.example.com"),
    ("https://chat.example.com", "chat.example.com:8443"),
    ("http://chat.example.com", "chat.example.com:443"),
    ("https://chat.example.com:80", "chat.example.com"),
    ("https://chat.example.com/", "chat.example.com"),
    ("null", "null"),
    ("chat.example.com", "chat.example.com"),
    ("file://", ""),
    ("http://", ""),
    ("", ""),
    ("https://", ":443"),
]


@pytest.mark.parametrize(("origin", "host"), OWN)
def test_its_own(origin: str, host: str) -> None:
    """A port that is left out is that of the scheme; letters are compared without their case."""
    assert is_own(origin, host)


@pytest.mark.parametrize(("origin", "host"), FOREIGN)
def test_of_others(origin: str, host: str) -> None:
    """Another host, another port, or no origin of a page."""
    assert not is_own(origin, host)
