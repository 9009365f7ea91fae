"""What work costs, as it was measured: microseconds of a processor and bytes. docs/scaling.md says where each is from.

The machines of the measurements were shared and slow: a plan for quicker ones is on the safe side.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replica:
    """Costs of a Maru process. Times in microseconds of its core."""

    delivery: float = 9.0
    """An event given to a member, a message in a turn (docs/performance.md, fan-out: 5.7 to 10.3)."""
    hearing: float = 45.0
    """A hint of another replica at an event of a hosted channel: decoding, ring, turn."""
    heartbeat: float = 43.5
    """A ping and a pong of an idle connection."""
    arrival: float = 384.0
    """A handshake with token, CONNECT and a join."""
    join: float = 31.0
    """A further channel of a client that comes: with its mark (23), and its share of `resume`."""
    presence: float = 80.0
    """A user who enters a channel and leaves it."""
    page: float = 1_100.0
    """`history:read` of 100 short messages."""
    connection: float = 4.2 * 1024
    """Bytes of a connection with one channel."""
    membership: float = 400.0
    """Bytes of each further channel of a connection."""
    hosted: float = 3.5 * 1024
    """Bytes of a channel that is hosted, beside its ring."""
    process: float = 95 * 2**20
    """Bytes of a process without clients."""
    rings: float = 64 * 2**20
    """Bytes of recent events (`MARU_MAX_RINGS`)."""
    connections: int = 50_000
    """Connections of a process that were tried out (by foretelling from 15,800)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Costs of a store and its broadcast. Times in microseconds."""

    name: str
    send: float
    """Of a replica, for a send: all of the command but its deliveries."""
    store: float
    """Of the store's processors, for a send."""
    heard: float
    """Of the broker's processors, for each replica that hears a hint."""
    foreign: float
    """Of each replica, for a hint at a channel that it does not host (P10's price)."""
    presence: float
    """Of the store's processors, for a user who enters a channel and leaves it."""
    event: float
    """Bytes that an event takes in the store."""
    channel: float
    """Bytes that a channel takes in the store."""
    cores: float
    """Processors that a node of the store can use for this work."""
    grows: bool
    """Whether further nodes take a share of the writes."""
    in_memory: bool
    """Whether what is kept has to fit into memory."""


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("sqlite", 136.8, 0, 0, 0, 0, 500, 200, 0, False, False),
        Engine("redis", 114.0, 49.0, 3.0, 0, 42, 430, 4_800, 1, False, True),
        Engine("redis-cluster", 114.0, 49.0, 3.0, 0, 42, 430, 4_800, 1, True, True),
        Engine("redis+kafka", 114.0, 46.0, 0, 18.0, 42, 430, 4_800, 1, False, True),
        Engine("redis+nats", 114.0, 46.0, 0, 0, 42, 430, 4_800, 1, False, True),
        Engine("postgres", 125.0, 80.0, 15.0, 2.0, 150, 796, 300, 8, False, False),
        Engine("postgres+kafka", 125.0, 80.0, 0, 18.0, 150, 796, 300, 8, False, False),
        Engine("postgres+nats", 125.0, 80.0, 0, 0, 150, 796, 300, 8, False, False),
        Engine("nats", 150.0, 60.0, 2.0, 0, 100, 600, 46_000, 4, False, True),
    )
}
"""What was measured with each, at half of its load, where sends share less of a commit than at full load."""
