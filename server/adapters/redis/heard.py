"""The place of a reader in the stream of orders, and the orders that it has heard lately.

After a failover the stream may lack entries that were read, and have others at their times. Then the reader goes back
some seconds and reads again; the nonces of the orders tell it which of them are new.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from server.adapters.orders import decode_order
from server.domain.control import Order, UnknownOrder

EntryId = tuple[int, int]
"""Of an entry of a stream: its time in milliseconds, and a number."""

NOWHERE: EntryId = (0, 0)
"""Before the first entry."""

BACK_MS = 60_000
"""How far a reader goes back: longer than an old master and a new one live beside each other."""

REMEMBERED = 20_000
"""Orders whose nonces are remembered."""


class HeardOrders:
    """Where a reader is, and what it has heard."""

    def __init__(self) -> None:
        self.begun = False  # the place is known
        self.unsure = False  # the list may have changed, and nothing at the place would show it
        self.at_end = False  # the last read found no more than it could take
        self.place = NOWHERE  # all entries up to here are heard
        self.anchored = False  # an entry stood at the place when it was read
        self._floor = NOWHERE  # the reader must not go back behind this: older orders are heard, or not for it
        self._nonces: OrderedDict[bytes, EntryId] = OrderedDict()  # of the last orders, oldest first

    def begin(self, info: Any) -> None:
        """Begin behind everything that the stream has now. `info` is the answer to XINFO STREAM; None: no stream."""
        self.place, self.anchored = _end_of(info)
        self.begun, self._floor = True, self.place

    def step_back(self, info: Any) -> None:
        """Go back, since the entry at the place is gone, or none stood there. `info` as above: the stream may be
        shorter than the place."""
        end, _ = _end_of(info)
        self._floor = min(self._floor, end)
        back = (max(self.place[0] - BACK_MS, 0), 0)
        self.place, self.anchored, self.at_end = min(max(back, self._floor), end), False, False
        self.unsure = False

    def interrupt(self) -> None:
        """Note that a read has failed: the next must not wait. If no entry stands at the place, nothing would show that
        those behind it were trimmed meanwhile, or that the list is another."""
        self.at_end, self.unsure = False, self.begun and not self.anchored

    def take(self, entries: Sequence[Any], most: int) -> list[Order]:
        """Move behind these entries, of which a read takes `most`; return the orders among them that are new."""
        self.at_end = len(entries) < most
        new = list[Order]()
        for raw_id, words in entries:
            fields = dict(zip(words[::2], words[1::2], strict=False))
            self.place, self.anchored = entry_id(raw_id), True
            nonce = fields.get(b"n", raw_id)
            if nonce not in self._nonces:
                self._remember(nonce)
                raw = fields.get(b"o")
                new.append(UnknownOrder() if raw is None else decode_order(raw))
        return new

    def _remember(self, nonce: bytes) -> None:
        self._nonces[nonce] = self.place
        if len(self._nonces) > REMEMBERED:
            _, forgotten = self._nonces.popitem(last=False)
            self._floor = max(self._floor, forgotten)


def entry_id(raw: bytes) -> EntryId:
    """Return the id of an entry, as numbers that can be compared."""
    milliseconds, _, number = raw.partition(b"-")
    return int(milliseconds), int(number)


def has_lost(info: Any, limit: int) -> bool:
    """Say whether an entry that is gone was lost: the stream, of which `info` tells, has room for `limit` entries, so
    it was not trimmed."""
    return info is None or int(dict(zip(info[::2], info[1::2], strict=False))[b"length"]) < limit


def _end_of(info: Any) -> tuple[EntryId, bool]:
    """Return the id of the last entry, and that it stands there; of an empty stream the last id that was given."""
    if info is None:
        return NOWHERE, False
    fields = dict(zip(info[::2], info[1::2], strict=False))
    last = fields.get(b"last-entry")
    return (entry_id(last[0]), True) if last else (entry_id(fields[b"last-generated-id"]), False)
