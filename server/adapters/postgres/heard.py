"""The place of a reader in the list of orders, and the orders that it has heard lately.

After a failover the list may lack orders that were read, and have others under their numbers. Then the reader goes back
and reads again; the nonces of the orders tell it which of them are new.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from server.adapters.orders import decode_order
from server.domain.control import Order

REMEMBERED = 20_000
"""Orders whose nonces are remembered; the reader does not go back behind them."""


class Place(NamedTuple):
    """What the database says of its list: which it is, and the numbers of the first and the last order."""

    id: bytes
    first: int
    last: int


class HeardOrders:
    """The place of a reader, and the orders that it has heard."""

    def __init__(self) -> None:
        self.begun = False  # the place is known
        self.place = 0  # all orders up to here are heard
        self._list = b""  # the id of the list
        self._anchor: bytes | None = None  # the nonce of the order at the place, if that was heard
        self._floor = 0  # the reader must not go back behind this: older orders are heard, or not for it
        self._nonces: OrderedDict[bytes, int] = OrderedDict()  # of the last orders, oldest first

    def begin(self, list_: Place) -> None:
        """Begin behind everything that the list has now."""
        self.begun, self._list, self.place, self._floor = True, list_.id, list_.last, list_.last

    def lost(self, list_: Place, anchor: bytes | None) -> bool | None:
        """Return None if the list goes on from the place, at which the order with the nonce `anchor` stands; else
        whether orders were lost, and not only dropped because there are too many."""
        if list_.id != self._list or list_.last < self.place:
            return True
        if list_.first > self.place + 1:
            return False
        if self._anchor is None:
            self._anchor = anchor
        return True if list_.first <= self.place and anchor != self._anchor else None

    def step_back(self, list_: Place) -> None:
        """Go back as far as orders are remembered, in the list as it is now."""
        if list_.id != self._list:
            self._list, self._floor = list_.id, 0
        self._floor = min(self._floor, list_.last)
        self.place, self._anchor = max(self._floor, list_.first - 1, 0), None

    def take(self, nonces: Sequence[bytes], bodies: Sequence[bytes]) -> list[Order]:
        """Move behind these orders; return those that are new."""
        new = list[Order]()
        for nonce, body in zip(nonces, bodies, strict=True):
            self.place, self._anchor = self.place + 1, nonce
            if nonce not in self._nonces:
                self._remember(nonce)
                new.append(decode_order(body))
        return new

    def _remember(self, nonce: bytes) -> None:
        self._nonces[nonce] = self.place
        if len(self._nonces) > REMEMBERED:
            _, forgotten = self._nonces.popitem(last=False)
            self._floor = max(self._floor, forgotten)
