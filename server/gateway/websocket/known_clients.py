"""Clients that hold a cookie of this server: part of the handshakes is kept for them when there are too many."""

import re
import time
from collections.abc import Callable

from server.domain.affinity import VALUE_CHARS
from server.domain.buckets import Buckets
from server.domain.gcra import Rate, pace

MAX_HOLDERS = 20_000
"""Cookies whose handshakes are counted."""

HOLDER_RATE = Rate(per_s=1.0, burst=20)
"""How often a cookie counts: enough for the devices and pages of a user, too few for a flood with one cookie."""


class KnownClients:
    """Looks for the cookie `name`. `is_ours` says whether its value was given by a server, at a time in Unix seconds;
    `clock` is monotonic, in seconds."""

    def __init__(self, name: str, is_ours: Callable[[str, float], bool], clock: Callable[[], float]) -> None:
        self._cookie = re.compile(rf"(?:^|[;, ]){re.escape(name)}=([\w-]{{{VALUE_CHARS}}})(?:[;, ]|$)", re.ASCII)
        self._is_ours = is_ours
        self._clock = clock
        self._pace = pace(HOLDER_RATE)
        self._buckets = Buckets[str](MAX_HOLDERS)

    def is_known(self, cookie: str) -> bool:
        """Say whether a `Cookie` header has a value that is ours, and has not been used too often."""
        found = self._cookie.search(cookie)
        if found is None or not self._is_ours(found[1], time.time()):
            return False
        return not self._buckets.take(found[1], self._pace, self._clock())
