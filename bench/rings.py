"""What the recent events of many channels cost: `python -m bench.rings`.

Fills the rings of 10,000 channels with 256 messages of 100 characters each, and prints the process's memory before and
after, beside what the rings count themselves.
"""

from pathlib import Path

from server.domain.channels import ChannelName
from server.domain.events import MessageCreated
from server.domain.identity import Author, UserId
from server.domain.messages import Message, message_id
from server.domain.rings import RING_LIMIT, Ring, Rings
from server.wire.messages import encode, erase

CHANNELS = 10_000
TEXT = "x" * 100
NOW_MS = 1_700_000_000_000
MIB = 1 << 20


def resident() -> int:
    """Return the bytes that this process has in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def created(channel: ChannelName, offset: int) -> MessageCreated:
    """Return the creation of a message."""
    at = NOW_MS + offset
    id = message_id(at, offset.to_bytes(10, "big"))
    author = Author(UserId("alice"), "Alice")
    message = Message(id, channel, author, TEXT, None, None, None, at, None, 1, offset)
    return MessageCreated(channel, "epoch", offset, at, message)


def main() -> None:
    """Fill the rings, and print the figures."""
    before, rings = resident(), Rings(encode, erase)
    kept = []
    for number in range(CHANNELS):
        ring = Ring(rings)
        for offset in range(1, RING_LIMIT + 1):
            ring.push(encode(created(ChannelName(f"room:{number}"), offset)))
        kept.append(ring)
    after = resident()
    print(f"{CHANNELS:,} channels, {RING_LIMIT} messages each: {(after - before) / MIB:.1f} MiB of memory more,")
    print(f"{rings.size / MIB:.1f} MiB by the rings' own count; {rings.evicted:,} channels made room")


if __name__ == "__main__":
    main()
