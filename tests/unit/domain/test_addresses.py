"""Addresses that are reached from this machine alone."""

import pytest

from server.domain.addresses import is_loopback

HERE = "localhost LOCALHOST localhost. app.localhost 127.0.0.1 127.255.0.9 ::1 [::1] ::ffff:127.0.0.1"
ELSEWHERE = "0.0.0.0 :: 10.0.0.1 ::ffff:10.0.0.1 redis localhost.example.com mylocalhost 127.0.0.1.example.com 127.1 1"


@pytest.mark.parametrize("host", HERE.split())
def test_this_machine(host: str) -> None:
    """By its names and addresses, as URLs and sockets write them."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", [None, "", *ELSEWHERE.split()])
def test_other_machines(host: str | None) -> None:
    """Other names, whatever they begin or end with, and addresses that stand for all."""
    assert not is_loopback(host)
