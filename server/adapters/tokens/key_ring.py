"""An issuer's keys from fetch to fetch: which of them are good, and which are withdrawn. No clock, no network."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from server.adapters.tokens.keys import Key

WITHDRAW_S = 60.0
"""A key that is gone from two fetches that are so far apart is withdrawn. One fetch may meet a node of the issuer that
does not have the key yet."""

MAX_WITHDRAWN = 256
"""Names of withdrawn keys that are remembered, so that their tokens cost no fetch."""


class _Held(NamedTuple):
    kid: str
    key: Key


class KeyRing:
    """The keys that an issuer has, and those that it had a moment ago."""

    def __init__(self) -> None:
        self._good: dict[str, Key] = {}  # by `kid`
        self._held: dict[str, _Held] = {}  # by the key's id: the good, and those with another key's `kid` since
        self.single = False  # whether the last fetch had a single key
        self._gone_since: dict[str, float] = {}  # by the key's id: the first fetch without it
        self._withdrawn: OrderedDict[str, None] = OrderedDict()  # names, the oldest first

    @property
    def good(self) -> Mapping[str, Key]:
        """The keys whose tokens are good, by `kid`."""
        return self._good

    @property
    def waits(self) -> bool:
        """Say whether a key is gone from the last fetch, and not yet withdrawn."""
        return bool(self._gone_since)

    def was_withdrawn(self, kid: str) -> bool:
        """Say whether the last key of this name has been withdrawn."""
        return kid in self._withdrawn

    def holds(self, key: Key) -> bool:
        """Say whether the key is good: this very object, since its name may have been given to another key."""
        held = self._held.get(str(key.id))
        return held is not None and held.key is key and self._good.get(held.kid) is key

    def take(self, fetched: Mapping[str, Key], now: float) -> frozenset[str]:
        """Take the keys of a fetch; return the ids of the keys that are withdrawn by it. `now` is monotonic."""
        good = {kid: self._known(key) for kid, key in fetched.items()}
        held = {str(key.id): _Held(kid, key) for kid, key in good.items()}
        gone_since: dict[str, float] = {}
        withdrawn: dict[str, str] = {}
        for id, former in self._held.items():
            if id in held:
                continue
            since = self._gone_since.get(id, now)
            if now - since >= WITHDRAW_S:
                withdrawn[id] = former.kid
            else:
                held[id], gone_since[id] = former, since
                good.setdefault(former.kid, former.key)
        self._good, self._held, self._gone_since = good, held, gone_since
        self.single = len(fetched) == 1
        self._remember(withdrawn.values())
        return frozenset(withdrawn)

    def _known(self, key: Key) -> Key:
        """Return the object that stands for the key."""
        held = self._held.get(str(key.id))
        return key if held is None else held.key

    def _remember(self, withdrawn: Iterable[str]) -> None:
        for kid in withdrawn:
            self._withdrawn[kid] = None
        for kid in self._good:
            self._withdrawn.pop(kid, None)
        while len(self._withdrawn) > MAX_WITHDRAWN:
            self._withdrawn.popitem(last=False)
