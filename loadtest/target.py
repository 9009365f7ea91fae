"""The server's address, and the local addresses from which to reach it."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

CLIENTS_PER_SOURCE = 20_000
"""Connections from one local address to one port: the system has 28,232 ports for them by default."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server's address. `header` is for the Host header."""

    host: str
    port: int
    tls: bool
    header: str

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Parse `http://HOST:PORT` or `https://...` (or `ws`, `wss`). Raises `ValueError`."""
        parts = urlsplit(url)
        tls = parts.scheme in {"https", "wss"}
        if not parts.hostname or not (tls or parts.scheme in {"http", "ws"}):
            raise ValueError(f"{url!r} is no URL of a server: write http://HOST:PORT or https://HOST")
        if parts.path not in {"", "/"} or parts.query:
            raise ValueError(f"{url!r}: leave out what follows the port; the path is always /socket.io/")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.netloc.rpartition("@")[2])

    def source(self, number: int) -> str | None:
        """Return the local address for the client of this number; None if the system is to choose."""
        block = number // CLIENTS_PER_SOURCE
        if not block or self.tls:
            return None
        with suppress(ValueError):
            address = ip_address("127.0.0.1" if self.host == "localhost" else self.host)
            if address.version == 4 and address.is_loopback:
                return f"127.0.{(block + 1) // 256}.{(block + 1) % 256}"
        return None


def reset_on_close(sock: Any) -> None:
    """Let a socket (or an event loop's stand-in for it) end with a reset when it is closed next.

    So the client leaves without a goodbye, and its port can be used again at once.
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
