"""Bounds of each client address: handshakes in a time, connections, and connections that have no session yet.

Without them a single machine could take every handshake that the server has time for. An address is seldom a single
person: behind one there may be an office, so the bounds are far above the needs of a person (ADR 0025).
"""

from collections.abc import Callable

from server.domain.buckets import Buckets
from server.domain.gcra import Rate, pace
from server.domain.proxies import Proxies
from server.gateway.websocket import refusals
from server.gateway.websocket.refusals import Refused

CROWDED_S = 10.0
"""How long a client waits if its address has too much open: as long as a connection may be without a session."""

_FAST = (
    "one address opens many connections; let a client back off, raise `address` in MARU_LIMITS for a large office, "
    "or name the proxy in MARU_TRUSTED_PROXIES"
)
_OPEN = "one address has many connections; close what is not used, or raise MARU_ADDRESS_CONNECTIONS"
_SILENT = "one address opens connections and sends nothing; or raise MARU_ADDRESS_UNCONNECTED for a large office"
_UNCONNECTED = "clients of one address send no CONNECT; or raise MARU_ADDRESS_UNCONNECTED for a large office"


class Counts(dict[int, int]):
    """Counts by address; None is no address, and is not counted. An address that has none is not in it."""

    def add(self, key: int | None) -> None:
        """Count one more."""
        if key is not None:
            self[key] = self.get(key, 0) + 1

    def remove(self, key: int | None) -> None:
        """Count one less."""
        if key is None:
            return
        left = self[key] - 1
        if left:
            self[key] = left
        else:
            del self[key]


class Crowds:
    """Counts the requests and connections of each address; `proxies` say which that is.

    `rate` is that of its handshakes, None for no limit; `most_open` and `most_unconnected` bound its connections, 0 for
    no bound. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        proxies: Proxies,
        rate: Rate | None,
        most_open: int,
        most_unconnected: int,
        clock: Callable[[], float],
    ) -> None:
        self.client = proxies.client
        self._pace = None if rate is None else pace(rate)
        self._buckets = Buckets[int]()
        self._clock = clock
        self._most_open = most_open
        self._most_unconnected = most_unconnected
        self.open = Counts()
        self.unconnected = Counts()  # those of `open` without a session
        self.silent = Counts()  # that have sent nothing
        self.http = Counts()  # whose requests are no handshakes, or are not complete

    def too_fast(self, key: int | None) -> Refused | None:
        """Count a request of an address, once for each; return the answer if there are too many."""
        wait_s = self.wait_s(key)
        return refusals.too_many(wait_s, "too many handshakes from this address", _FAST) if wait_s else None

    def wait_s(self, key: int | None) -> float:
        """Count a request of an address; return the seconds that it has to wait."""
        return 0.0 if key is None or self._pace is None else self._buckets.take(key, self._pace, self._clock())

    def sweep(self) -> None:
        """Forget some addresses whose buckets are full."""
        self._buckets.sweep(self._clock())

    def too_silent(self, key: int | None, most: int) -> Refused | None:
        """Return the answer to a connection whose address has too much open, whatever it is going to send. `most` may
        be no WebSockets."""
        if key is None:
            return None
        silent = self.silent.get(key, 0)
        visiting = silent + self.http.get(key, 0)
        if 0 < self._most_unconnected <= silent:
            return refusals.too_many(CROWDED_S, "too many silent connections from this address", _SILENT)
        if self._most_open and (visiting >= most or visiting + self.open.get(key, 0) >= self._most_open):
            return refusals.too_many(CROWDED_S, "too many connections from this address", _OPEN)
        return None

    def too_large(self, key: int | None) -> Refused | None:
        """Return the answer to a handshake whose address has too much open."""
        if key is None:
            return None
        if 0 < self._most_unconnected <= self.unconnected.get(key, 0):
            return refusals.too_many(CROWDED_S, "too many connections from this address without CONNECT", _UNCONNECTED)
        if 0 < self._most_open <= self.open.get(key, 0):
            return refusals.too_many(CROWDED_S, "too many connections from this address", _OPEN)
        return None


def no_bounds() -> Crowds:
    """Return crowds that are never too large, for servers without addresses."""
    return Crowds(Proxies(None), None, 0, 0, lambda: 0.0)
