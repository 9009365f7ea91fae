"""Clients that hold a cookie of this server: found among other cookies, and not as often as one likes."""

import time

import pytest

from server.domain.affinity import AffinityCookies, derive_key
from server.gateway.websocket.known_clients import HOLDER_RATE, KnownClients

OURS = AffinityCookies(derive_key(b"a secret"))
OTHERS = AffinityCookies(derive_key(b"another secret"))


def clients() -> KnownClients:
    """Holders at a clock that stands still."""
    return KnownClients("maru_affinity", OURS.is_ours, lambda: 0.0)


@pytest.mark.parametrize("cookie", ["maru_affinity={}", "a=b; maru_affinity={}; c=d", "a=b;maru_affinity={}"])
def test_a_cookie_among_others(cookie: str) -> None:
    """It is found wherever it stands."""
    assert clients().is_known(cookie.format(OURS.value("alice", time.time())))


@pytest.mark.parametrize(
    "cookie",
    ["", "maru_affinity=", "maru_affinity=0123456789abcdef", "x_maru_affinity={}", "maru_affinity={}x", "a={}"],
)
def test_no_cookie_of_ours(cookie: str) -> None:
    """A value that nginx or a client has made up is none, nor one under another name."""
    assert not clients().is_known(cookie.format(OURS.value("alice", time.time())))
    assert not clients().is_known(f"maru_affinity={OTHERS.value('alice', time.time())}")


def test_a_cookie_that_is_used_by_a_crowd() -> None:
    """Whoever gives it to thousands gets no more with it than the devices of a user need; other users still do."""
    subject = clients()
    alice, bob = (f"maru_affinity={OURS.value(user, time.time())}" for user in ("alice", "bob"))
    assert [subject.is_known(alice) for _ in range(HOLDER_RATE.burst + 2)] == [True] * HOLDER_RATE.burst + [False] * 2
    assert subject.is_known(bob)
