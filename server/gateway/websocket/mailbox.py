"""A client's packets between reading and handling: it exists only while it has work."""

from collections import deque

MAILBOX_HIGH = 128
"""Packets waiting to be handled at which reading pauses: the rest waits in the client's own TCP window."""

MAILBOX_LOW = 32
"""Packets waiting at which reading goes on."""


class Mailbox:
    """Packets in the order in which they came. Some may be doomed: they are still taken out, but not to be done."""

    __slots__ = ("_doomed", "_packets")

    def __init__(self, packet: str) -> None:
        self._packets = deque((packet,))
        self._doomed = 0

    def __len__(self) -> int:
        """How many packets wait."""
        return len(self._packets)

    def post(self, packet: str) -> None:
        """Add a packet."""
        self._packets.append(packet)

    def take(self) -> str:
        """Take the oldest packet out. Raises `IndexError` where there is none."""
        return self._packets.popleft()

    def doom(self) -> None:
        """What waits now is not to be done: something before it could not be, and its sender will send both again."""
        self._doomed = len(self._packets)

    def take_doom(self) -> bool:
        """Whether the packet taken last was waiting when those were doomed. To be asked once a packet."""
        doomed = self._doomed > 0
        self._doomed -= doomed
        return doomed

    def clear(self) -> None:
        """Drop what waits."""
        self._packets.clear()
