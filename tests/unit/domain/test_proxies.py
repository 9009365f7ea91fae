"""Addresses: who is the client behind proxies, and which addresses are one client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.proxies import MAX_HOPS, NOBODY, Client, Proxies, network, number_of

BEHIND = Proxies([network("10.0.0.0/8"), network("2001:db8:ffff::/48")])


def client(proxies: Proxies, peer: str | None, forwarded: str) -> Client:
    """Ask twice: the second answer is remembered."""
    found = proxies.client(peer, lambda: forwarded)
    assert proxies.client(peer, lambda: forwarded) == found
    return found


FOUND = {
    "a peer that is no proxy": ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
    "behind a proxy": ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
    "behind two": ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
    "without spaces": ("10.0.0.1", "198.51.100.1,10.0.0.2", "198.51.100.1"),
    "what a client says of itself": ("10.0.0.1", "192.0.2.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
    "that it is a proxy": ("10.0.0.1", "10.9.9.9, 198.51.100.1", "198.51.100.1"),
    "with a port": ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
    "IPv6": ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
    "IPv6 in brackets": ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
    "IPv6 with a port": ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
    "an IPv6 proxy": ("2001:db8:ffff::1", "2001:db8::7, 2001:db8:ffff:9::1", "2001:db8::7"),
    "a proxy on a dual-stack socket": ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
    "a client on one": ("::ffff:203.0.113.9", "", "203.0.113.9"),
}


@pytest.mark.parametrize(("peer", "forwarded", "address"), FOUND.values(), ids=FOUND)
def test_the_client_is_the_nearest_hop_that_is_no_proxy(peer: str, forwarded: str, address: str) -> None:
    """It is counted by its address."""
    assert client(BEHIND, peer, forwarded) == Client(address, client(BEHIND, address, "").key)
    assert client(BEHIND, peer, forwarded).key is not None


UNKNOWN = {
    "a proxy by itself": ("10.0.0.1", "", "10.0.0.1"),
    "proxies alone": ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "no address": ("10.0.0.1", "unknown", "10.0.0.1"),
    "no address behind a proxy": ("10.0.0.1", "198.51.100.1, _hidden, 10.0.0.2", "10.0.0.2"),
    "an endless hop": ("10.0.0.1", "1" * 10_000, "10.0.0.1"),
    "an endless chain": ("10.0.0.1", "198.51.100.1, " + ", ".join(["10.0.0.2"] * MAX_HOPS), "10.0.0.2"),
    "a NUL": ("10.0.0.1", "198.51.100.1\0", "10.0.0.1"),
    "no number": ("10.0.0.1", "198.51.100.1é", "10.0.0.1"),
    "a socket file": ("/run/maru", "198.51.100.1", "/run/maru"),
}


@pytest.mark.parametrize(("peer", "forwarded", "address"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_client_that_nobody_knows(peer: str, forwarded: str, address: str) -> None:
    """It is not counted: it would be counted with everybody else behind that proxy."""
    assert client(BEHIND, peer, forwarded) == Client(address, None)


def test_nobody_is_there() -> None:
    """The peer of a connection that has ended is not known."""
    assert client(BEHIND, None, "198.51.100.1") == NOBODY


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.31.0.1", "100.64.0.1", "::1", "fd00::1", "fe80::1%eth0"]
)
def test_without_a_setting_a_private_peer_is_taken_for_a_proxy(peer: str) -> None:
    """Nobody is believed, so its clients are not known; whoever comes by the internet is counted."""
    unset = Proxies(None)
    assert client(unset, peer, "198.51.100.1") == Client(peer, None)
    assert client(unset, "172.32.0.1", "198.51.100.1") == client(Proxies([]), "172.32.0.1", "")
    assert client(unset, "172.32.0.1", "198.51.100.1").key is not None


def test_a_list_of_proxies_leaves_no_other() -> None:
    """With a list, a peer in a private network is a client like others."""
    assert client(BEHIND, "127.0.0.1", "198.51.100.1") == Client("127.0.0.1", number_of("127.0.0.1"))


def test_a_64_is_one_client() -> None:
    """A phone has 2**64 addresses of IPv6; of IPv4 each address counts, however it is written."""
    keys = [client(BEHIND, peer, "").key for peer in ("2001:db8::1", "2001:db8:0:0:ffff::1", "2001:db8:0:1::1")]
    assert keys[0] == keys[1] != keys[2]
    keys = [client(BEHIND, peer, "").key for peer in ("192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1")]
    assert len(set(keys)) == 1
    assert client(BEHIND, "192.0.2.2", "").key not in keys


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "proxy.example.com", "10.0.0.0-10.0.0.9", "::/129"])
def test_what_is_no_network(text: str) -> None:
    """A typing error is told."""
    with pytest.raises(ValueError, match=r"\w"):
        network(text)


def test_a_network_is_shown_as_it_is_meant() -> None:
    """For `config`, which prints the settings."""
    assert [str(network(text)) for text in ("10.0.0.0/8", "192.0.2.1", "::/0")] == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "::/0",
    ]
    assert client(Proxies([network("0.0.0.0/0")]), "192.0.2.1", "") == Client("192.0.2.1", None)
    assert client(Proxies([network("0.0.0.0/0")]), "2001:db8::1", "").key is not None


@given(st.text(alphabet="0123456789abcdef.:[]%, \té\0x", max_size=80))
def test_no_header_is_a_fault(forwarded: str) -> None:
    """Whatever a proxy or its client writes, the client is an address, or the proxy."""
    found = client(BEHIND, "10.0.0.1", forwarded)
    assert found.address is not None
    assert number_of(found.address) is not None
