"""Bounds of each client address."""

from dataclasses import dataclass
from typing import cast

import orjson
import pytest

from server.domain.gcra import Rate
from server.domain.outcomes import Refusal
from server.domain.proxies import Proxies
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.crowds import Crowds, no_bounds
from server.gateway.websocket.unconnected import Unconnected

RATE = Rate(per_s=2.0, burst=3)


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


def test_addresses_are_forgotten(clock: Clock) -> None:
    """A crowd that is gone leaves nothing behind, and one that is still there stays limited."""
    crowds = Crowds(Proxies(None), RATE, 0, 0, clock)
    for _ in range(4):
        crowds.wait_s(1)
    crowds.sweep()
    assert crowds.wait_s(1) > 0
    clock.now += 60
    crowds.sweep()
    assert [crowds.wait_s(1) for _ in range(3)] == [0.0] * 3


def test_an_address_that_asks_too_often(clock: Clock) -> None:
    """It gets 429 with the exact wait; others, and those whose address nobody knows, do not."""
    crowds = Crowds(Proxies(None), RATE, 0, 0, clock)
    assert [crowds.too_fast(1) for _ in range(3)] == [None] * 3
    refused = crowds.too_fast(1)
    assert refused is not None
    assert (refused.status, refused.reason) == (429, Refusal.ADDRESS)
    assert orjson.loads(refused.body)["error"]["retry_after_ms"] in {500, 510}
    assert [crowds.too_fast(None) for _ in range(10)] == [None] * 10
    assert crowds.too_fast(2) is None
    assert [no_bounds().too_fast(1) for _ in range(1_000)] == [None] * 1_000


def test_an_address_that_has_too_much_open(clock: Clock) -> None:
    """Its connections are bounded, and so are those without a session."""
    crowds = Crowds(Proxies(None), None, 3, 2, clock)
    for _ in range(2):
        crowds.open.add(1)
        crowds.unconnected.add(1)
    assert (refused := crowds.too_large(1)) is not None
    assert b"without CONNECT" in refused.body
    crowds.unconnected.remove(1)
    assert crowds.too_large(1) is None
    crowds.open.add(1)
    assert (refused := crowds.too_large(1)) is not None
    assert b"too many connections from this address" in refused.body
    assert (crowds.too_large(2), crowds.too_large(None)) == (None, None)
    for _ in range(3):
        crowds.open.remove(1)
    crowds.unconnected.remove(1)
    assert (crowds.open, crowds.unconnected) == ({}, {})
    crowds.open.remove(None)


def test_an_address_whose_connections_ask_for_nothing(clock: Clock) -> None:
    """Those that are silent are bounded, all of them with the WebSockets, and those that are none by the room."""
    crowds = Crowds(Proxies(None), None, 5, 2, clock)
    crowds.silent.add(1)
    assert crowds.too_silent(1, most=9) is None
    crowds.silent.add(1)
    assert (refused := crowds.too_silent(1, most=9)) is not None
    assert (refused.status, refused.reason) == (429, Refusal.ADDRESS)
    assert b"silent" in refused.body
    crowds.silent.remove(1)
    for counts in (crowds.open, crowds.http, crowds.http):
        counts.add(1)
        assert crowds.too_silent(1, most=9) is None
    assert crowds.too_silent(1, most=3) is not None
    assert crowds.too_silent(1, most=4) is None
    crowds.http.add(1)
    assert crowds.too_silent(1, most=9) is not None
    assert (crowds.too_silent(2, most=1), crowds.too_silent(None, most=0)) == (None, None)
    assert Crowds(Proxies(None), None, 0, 0, clock).too_silent(1, most=0) is None


def test_connections_that_are_waited_for_are_counted_once() -> None:
    """However often the time limit is set, and however the wait ends."""
    crowds = no_bounds()
    waiting = Unconnected(crowds.unconnected)
    first, second, unknown = (cast(Connection, Waiting(address=key)) for key in (1, 1, None))
    for connection in (first, second, unknown, first):
        waiting[connection] = 10.0
    assert (len(waiting), crowds.unconnected) == (3, {1: 2})
    waiting.pop(first, None)
    waiting.pop(first, None)
    assert crowds.unconnected == {1: 1}
    del waiting[second]
    waiting.pop(unknown, None)
    assert (waiting, crowds.unconnected) == ({}, {})


@dataclass(eq=False)
class Waiting:
    """A connection, as far as it is counted."""

    address: int | None
