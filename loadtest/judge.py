"""Has every member got every event, each once, in order? Judged from positions and keys alone.

Pure: no I/O, no clock. Offsets are dense per (channel, epoch), so the arrivals of one member show by themselves which
events are lost, repeated or out of order (`Reader`). The members of a process must see the same message at a position
(`ChannelRecord`), and an acked message must stand at the position in its ack (`Ledger`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import NamedTuple, Self

MISSING_LIMIT = 4_096
"""Missing offsets that a reader remembers, as they may come late. The offsets of a larger gap are lost for good."""

PLACES_LIMIT = 100_000
"""Positions of a channel that its record keeps, the newest: as many as the server's log keeps by default."""


class Verdict(Enum):
    """The judgement on an arrival."""

    NEXT = "next"
    GAP = "lost"
    REPEATED = "duplicated"
    LATE = "disordered"


@dataclass(slots=True)
class Tally:
    """Counts of faults. `unrecovered` counts the resumes that the server answered with `recovered: false`."""

    lost: int = 0
    duplicated: int = 0
    disordered: int = 0
    unrecovered: int = 0

    def add(self, other: Self) -> None:
        """Add the counts of another tally."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def clean(self) -> bool:
        """Whether there is no fault at all."""
        return not (self.lost or self.duplicated or self.disordered or self.unrecovered)


class Reader:
    """One member's view of one channel, over all its connections, from the position given to `begin`.

    `epoch` and `offset` are the position to resume from. An offset that was left out is missing until it comes late:
    then it is out of order, and not lost. An offset that has come before is a repeat.
    """

    __slots__ = ("_disordered", "_duplicated", "_lost", "_missing", "_unrecovered", "epoch", "offset")

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self._missing: set[int] = set()
        self._lost = self._duplicated = self._disordered = self._unrecovered = 0

    @property
    def begun(self) -> bool:
        """Whether the channel has been joined."""
        return bool(self.epoch)

    def begin(self, epoch: str, offset: int) -> None:
        """Be a member from this position on. Offsets that were missing before are lost."""
        self._lost += len(self._missing)
        self._missing.clear()
        self.epoch, self.offset = epoch, offset

    def accept(self, epoch: str, offset: int) -> Verdict:
        """Judge one event. An event of an epoch that was not announced is out of order."""
        if offset == self.offset + 1 and epoch == self.epoch:
            self.offset = offset
            return Verdict.NEXT
        if epoch != self.epoch:
            self._disordered += 1
            return Verdict.LATE
        if offset > self.offset:
            self._skip(offset - 1)
            self.offset = offset
            return Verdict.GAP
        if offset in self._missing:
            self._missing.discard(offset)
            self._disordered += 1
            return Verdict.LATE
        self._duplicated += 1
        return Verdict.REPEATED

    def resumed(self, epoch: str, offset: int, *, recovered: bool) -> Verdict:
        """Judge the position that the server gives after a resume's events: they must lead there.

        Without `recovered`, the reader goes on from that position, and has lost the events before it.
        """
        if not recovered:
            self._unrecovered += 1
            if epoch == self.epoch and offset >= self.offset:
                self._skip(offset)
            self.begin(epoch, offset)
            return Verdict.GAP
        if epoch != self.epoch or offset < self.offset:
            self._disordered += 1
            return Verdict.LATE
        if offset > self.offset:
            self._skip(offset)
            self.offset = offset
            return Verdict.GAP
        return Verdict.NEXT

    def tally(self, heads: Mapping[str, int] | None = None) -> Tally:
        """Count the faults so far.

        `heads` is the last offset known to exist, by epoch: an event up to there that has not arrived is lost.
        """
        tail = max(0, (heads or {}).get(self.epoch, 0) - self.offset) if self.begun else 0
        return Tally(self._lost + len(self._missing) + tail, self._duplicated, self._disordered, self._unrecovered)

    def _skip(self, last: int) -> None:
        """Note that the offsets from here up to `last` are missing."""
        count = last - self.offset
        if count > MISSING_LIMIT - len(self._missing):
            self._lost += count
        else:
            self._missing.update(range(self.offset + 1, last + 1))


class ChannelRecord:
    """The keys of a channel's messages by position, as the members of one process have seen them together."""

    __slots__ = ("_keys", "_places", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self._places: dict[tuple[str, int], str] = {}
        self._keys: dict[str, tuple[str, int]] = {}

    def note(self, epoch: str, offset: int, key: str) -> Verdict:
        """Note a message by its key.

        Another message at a position that was taken is out of order; the same message at a second position is a repeat.
        """
        place = (epoch, offset)
        known = self._places.get(place)
        if known is not None:
            self.tally.disordered += known != key
            return Verdict.NEXT if known == key else Verdict.LATE
        self._places[place] = key
        if self._keys.setdefault(key, place) != place:
            self.tally.duplicated += 1
            return Verdict.REPEATED
        if len(self._places) > PLACES_LIMIT:
            self._keys.pop(self._places.pop(next(iter(self._places))), None)
        return Verdict.NEXT

    def key_at(self, epoch: str, offset: int) -> str | None:
        """Return the key of the message at a position; None if no member has seen one there."""
        return self._places.get((epoch, offset))


class Ack(NamedTuple):
    """A message that the server has promised to keep, and its position."""

    channel: str
    epoch: str
    offset: int
    key: str


class Ledger:
    """The acks of a run, of one process or of all."""

    def __init__(self, acks: Iterable[Ack] = ()) -> None:
        self.acks: list[Ack] = []
        self._places: dict[tuple[str, str, int], str] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self.tally = Tally()
        for ack in acks:
            self.add(ack)

    def add(self, ack: Ack) -> Verdict:
        """Note an ack. Of two messages at one position, one is lost. A message at two positions is a repeat."""
        self.acks.append(ack)
        if self._places.setdefault(ack[:3], ack.key) != ack.key:
            self.tally.lost += 1
            return Verdict.GAP
        if self._keys.setdefault((ack.channel, ack.key), ack.offset) != ack.offset:
            self.tally.duplicated += 1
            return Verdict.REPEATED
        return Verdict.NEXT

    def heads(self) -> dict[str, dict[str, int]]:
        """Return the last acked offset by channel and epoch: as offsets are dense, all offsets before it exist too."""
        heads: dict[str, dict[str, int]] = {}
        for channel, epoch, offset, _ in self.acks:
            epochs = heads.setdefault(channel, {})
            epochs[epoch] = max(offset, epochs.get(epoch, 0))
        return heads

    def misplaced(self, records: Mapping[str, ChannelRecord]) -> int:
        """Count the acked messages at whose position a member has seen another message: they are lost."""
        found = (
            (records[ack.channel].key_at(ack.epoch, ack.offset), ack) for ack in self.acks if ack.channel in records
        )
        return sum(key is not None and key != ack.key for key, ack in found)
