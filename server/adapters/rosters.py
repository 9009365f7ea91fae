"""Changes of rosters as bytes, for brokers, and changes that wait for their listener: bounded, and told if some are
missing.

Shape: `{"v": 1, "k": "roster", "epoch", "version", "count", "left": [[user, name, since], ...], "joined": [...]}`,
without the channel, which the topic names. The lists are empty if they would be too long.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.limits import MAX_EPOCH_CHARS, MAX_OFFSET
from server.domain.presence import ChannelTurned, Present, RosterChanged, RosterHead, UserStatus
from server.ports.presence import CHANGES_LIMIT, REAPED_LIMIT, TURNS_LIMIT, RostersLost

ROSTER_BEGINNING = b'{"v":1,"k":"roster",'
"""Of a change, by which it is told from a signal."""


def encode_roster(change: RosterChanged, *, names: bool = True) -> bytes:
    """Return the bytes of a change; without `names` those of its head alone."""
    head = change.head
    fields: dict[str, Any] = {"v": 1, "k": "roster", "epoch": head.epoch, "version": head.version, "count": head.count}
    for name, users in (("left", change.left), ("joined", change.joined)):
        fields[name] = [(each.user, each.name, each.since) for each in users] if names else []
    return orjson.dumps(fields)


def decode_roster(channel: ChannelName, raw: bytes) -> RosterChanged | None:
    """Return the change of these bytes; None if it makes no sense."""
    try:
        fields = orjson.loads(raw)
        head = RosterHead(str(fields["epoch"]), int(fields["version"]), int(fields["count"]))
        left, joined = (tuple(_present(*each) for each in fields[name]) for name in ("left", "joined"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if not (0 < len(head.epoch) <= MAX_EPOCH_CHARS and 0 <= head.version <= MAX_OFFSET and head.count >= 0):
        return None
    return RosterChanged(channel, head, left, joined)


def _present(user: Any, name: Any, since: Any) -> Present:
    return Present(UserId(str(user)), None if name is None else str(name), int(since))


class RosterQueue:
    """A queue with a single listener, of `limit` changes: over it all are dropped, and `RostersLost` is in their place.
    `dropped` counts them."""

    def __init__(self, limit: int = CHANGES_LIMIT) -> None:
        self.dropped = 0
        self._limit = limit
        self._waiting: deque[RosterChanged | RostersLost] = deque()
        self._arrived = asyncio.Event()

    def put(self, change: RosterChanged) -> None:
        """Queue a change."""
        if len(self._waiting) >= self._limit:
            self.dropped += len(self._waiting)
            self.put_lost()
        self._waiting.append(change)
        self._arrived.set()

    def put_lost(self) -> None:
        """Queue `RostersLost`, in place of all that waits: rosters are read again."""
        self._waiting.clear()
        self._waiting.append(RostersLost())
        self._arrived.set()

    async def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        """Yield the changes, in order."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()


class TurnQueue:
    """Rosters that became occupied or vacated, for a single listener: over `limit` the first are dropped. `dropped`
    counts them."""

    def __init__(self, limit: int = TURNS_LIMIT) -> None:
        self.dropped = 0
        self._waiting: deque[ChannelTurned] = deque(maxlen=limit)
        self._arrived = asyncio.Event()

    def note(self, channel: ChannelName, head: RosterHead, *, left: int = 0, joined: int = 0) -> None:
        """Queue a change of a roster by so many users, if it is a turn. `head` is the state after that."""
        if (joined and joined == head.count) or (left and not head.count):
            self.dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(ChannelTurned(channel, head))
            self._arrived.set()

    async def listen(self) -> AsyncIterator[ChannelTurned]:
        """Yield the turns, in order."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()


class OfflineQueue:
    """Users that went offline with a lease, for a single listener: over `limit` the first are dropped. `dropped` counts
    them."""

    def __init__(self, limit: int = REAPED_LIMIT) -> None:
        self.dropped = 0
        self._waiting: deque[UserStatus | RostersLost] = deque(maxlen=limit)
        self._arrived = asyncio.Event()

    def put(self, items: Sequence[UserStatus | RostersLost]) -> None:
        """Queue users, or that all are to be counted again."""
        over = len(self._waiting) + len(items) - (self._waiting.maxlen or 0)
        self.dropped += max(0, over)
        self._waiting.extend(items)
        self._arrived.set()

    async def listen(self) -> AsyncIterator[UserStatus | RostersLost]:
        """Yield them, in order."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()
