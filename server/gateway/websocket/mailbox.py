"""A client's packets between reading and handling. A mailbox exists only while there are any."""

from collections import deque
from sys import getsizeof

from server.application.turn import Turn
from server.gateway.websocket.gate import Refused
from server.gateway.websocket.writer import Writer

MAILBOX_HIGH = 128
"""Packets waiting to be handled at which reading pauses. Later packets wait in the client's own TCP window."""

MAILBOX_LOW = 32
"""Packets waiting at which reading goes on."""

MAILBOX_HIGH_BYTES = 1 << 16
"""Bytes of such packets in memory at which reading pauses. What has been read by then waits as it came, up to a read of
256 KiB."""

MAILBOX_LOW_BYTES = 1 << 15
"""Bytes waiting at which reading goes on."""


class Mailbox:
    """A client's packets, in the order in which they came."""

    __slots__ = {
        "_packets": "The packets that wait to be handled.",
        "_to_skip": "How many packets at the front are to be skipped.",
        "_turn": "The share of the event loop for packets behind the first, before others get a turn; None until then.",
        "_unjudged": "How many packets at the front came before the client had a session, which judges packets.",
        "bytes": "What the packets that wait take in memory: a text with a rare character takes four bytes for each.",
        "held": "Whether the packet that was taken out last waits for commands before it.",
        "judged": "Whether the packet that was taken out last has been judged.",
        "refusals": "How many refused sends wait to be answered.",
        "skipped": "Whether the packet that was taken out last is to be skipped.",
    }

    def __init__(self) -> None:
        self._packets: deque[str | Refused] = deque()
        self._to_skip = self._unjudged = self.refusals = self.bytes = 0
        self._turn: Turn | None = None
        self.skipped = self.held = False
        self.judged = True

    def __len__(self) -> int:
        """Return how many packets wait."""
        return len(self._packets)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read."""
        return len(self._packets) >= MAILBOX_HIGH or self.bytes >= MAILBOX_HIGH_BYTES

    @property
    def has_room(self) -> bool:
        """Whether more is to be read, if it was full before."""
        return len(self._packets) <= MAILBOX_LOW and self.bytes <= MAILBOX_LOW_BYTES

    def put(self, packet: str | Refused, *, judged: bool = True) -> None:
        """Add a packet, or the answer to a packet that is refused."""
        self._packets.append(packet)
        self.bytes += getsizeof(packet)
        if not judged:
            self._unjudged += 1
        elif not isinstance(packet, str) and packet.send:
            self.refusals += 1

    async def next(self, writer: Writer) -> str | Refused | None:
        """Take the oldest packet out; return None if there is none.

        Others get a turn before, if the client has had its share. A client that reads slowly is waited for.
        """
        if self._turn is not None and self._packets and self._turn.over():
            await self._turn.pass_on()  # a command that waits for nothing gives nobody else a turn
        if self._packets and writer.congested:
            await writer.flushed()  # further answers would only pile up
        if not self._packets:
            return None
        if self._turn is None and len(self._packets) > 1:
            self._turn = Turn()
        self.skipped = self._to_skip > 0
        self._to_skip -= self.skipped
        self.judged = self._unjudged == 0
        self._unjudged -= not self.judged
        packet = self._packets.popleft()
        self.bytes -= getsizeof(packet)
        return packet

    def skip_waiting(self) -> None:
        """Skip every packet that waits now: it is still taken out, but marked."""
        self._to_skip = len(self._packets)
        self.skipped = self.skipped or self.held

    def clear(self) -> None:
        """Drop every packet that waits now."""
        self._packets.clear()
        self._to_skip = self._unjudged = self.refusals = self.bytes = 0
