"""Addresses of clients: which peer is a proxy, and which address a proxy tells.

IPv4 and IPv6 are one space of numbers: an IPv4 address is the number of its IPv4-mapped IPv6 address (RFC 4291,
section 2.5.5.2), which is also how a dual-stack socket writes it.
"""

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

MAX_HOPS = 16
"""Hops of `X-Forwarded-For` that are looked at, from the nearest: no chain of proxies is longer."""

MAX_HOP_CHARS = 64
"""Characters of a hop: an IPv6 address with brackets and a port has under 50."""

PEERS_REMEMBERED = 1_024
"""Peers that are not looked at again: the proxies of a deployment are few."""

_V4_BITS = 32
_BITS = 128
_HOST_BITS = 64  # of IPv6: a household or a phone has a whole /64, and may use another address of it each second
_NAT64 = (
    0x0064_FF9B << 64
)  # 64:ff9b::/96 (RFC 6052) without its last 32 bits: IPv4 clients of a server that has only IPv6
_MAPPED = 0xFFFF  # ::ffff:0:0/96, IPv4, in the same way
_V4 = _MAPPED << _V4_BITS  # where IPv4 begins
_HALVES = struct.Struct("!QQ")


class Network(NamedTuple):
    """The addresses that begin with the same bits."""

    first: int
    mask: int
    text: str

    def __str__(self) -> str:
        return self.text


class Client(NamedTuple):
    """A client. `key` stands for the address where clients are counted: an IPv4 address, or the /64 of
    an IPv6 address. It is None if nobody knows the address, or if it is a proxy's: then nothing is counted."""

    address: str | None
    key: int | None


NOBODY = Client(None, None)


def network(text: str) -> Network:
    """Read `192.0.2.1`, `10.0.0.0/8` or `2001:db8::/32`. Raises `ValueError`."""
    found = ipaddress.ip_network(text)
    bits = found.prefixlen + (_BITS - _V4_BITS if found.version == 4 else 0)  # noqa: PLR2004  # the version's name
    mask = ((1 << bits) - 1) << (_BITS - bits)
    number = int(found.network_address) + (_V4 if found.version == 4 else 0)  # noqa: PLR2004
    return Network(number, mask, str(found))


PRIVATE = tuple(
    map(
        network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "100.64.0.0/10",  # RFC 6598: balancers of clouds, overlay networks
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
"""Networks that nobody reaches from the internet: a peer of theirs is a proxy, or of the same house."""


def number_of(text: str) -> int | None:
    """Read an address; None if it is none."""
    try:
        return _V4 | int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except (OSError, ValueError):
        pass
    try:
        high, low = _HALVES.unpack(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
    except (OSError, ValueError):
        return None
    number: int = high << 64 | low
    return _V4 | (number & 0xFFFF_FFFF) if number >> _V4_BITS == _NAT64 else number


class Proxies:
    """Finds the client behind the proxies. `trusted` are the networks whose `X-Forwarded-For` counts; without them
    (None) none counts, and a peer in a private network is taken for a proxy whose clients nobody knows."""

    def __init__(self, trusted: Iterable[Network] | None) -> None:
        self._believed = trusted is not None
        self._networks = [(net.first, net.mask) for net in (PRIVATE if trusted is None else trusted)]
        self._peer = lru_cache(PEERS_REMEMBERED)(self._look_at)

    def client(self, peer: str | None, forwarded: Callable[[], str]) -> Client:
        """Return the client: the nearest hop that is no proxy. `forwarded` returns `X-Forwarded-For`, empty without."""
        if peer is None:
            return NOBODY
        found, is_proxy = self._peer(peer)
        return self._behind(found, forwarded()) if is_proxy and self._believed else found

    def _look_at(self, peer: str) -> tuple[Client, bool]:
        """Return the peer as a client, and whether it is a proxy."""
        number = number_of(peer)
        if number is None:
            return Client(peer, None), False
        is_proxy = self._is_proxy(number)
        return Client(_plain(peer, number), None if is_proxy else _key(number)), is_proxy

    def _behind(self, nearest: Client, forwarded: str) -> Client:
        for hop in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]) if forwarded else ():
            text = _without_port(hop.strip(" \t")) if len(hop) <= MAX_HOP_CHARS else ""
            number = number_of(text)
            if number is None:
                break  # the hops left of it are no more than a client's word
            if not self._is_proxy(number):
                return Client(_plain(text, number), _key(number))
            nearest = Client(_plain(text, number), None)
        return nearest

    def _is_proxy(self, number: int) -> bool:
        return any(number & mask == first for first, mask in self._networks)


def _key(number: int) -> int:
    return number if number >> _V4_BITS == _MAPPED else -(number >> _HOST_BITS)


def _plain(text: str, number: int) -> str:
    """Return an IPv4 address that a dual-stack socket gave as an IPv6 one in its own form."""
    if number >> _V4_BITS == _MAPPED and ":" in text:
        return socket.inet_ntop(socket.AF_INET, (number & 0xFFFF_FFFF).to_bytes(4, "big"))
    return text


def _without_port(hop: str) -> str:
    """Return a hop's address: some proxies add the port, and brackets around an IPv6 address."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, _, port = hop.partition(":")
    return host if port.isdecimal() else hop
