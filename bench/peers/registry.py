"""Every peer by its name."""

from collections.abc import Callable, Mapping
from functools import partial

from bench.peers import brokers, native, python, socket_io
from bench.peers.base import Peer, Setting

START: Mapping[str, Callable[[str, Setting], Peer]] = {
    "maru": partial(python.maru, log="memory"),
    "maru-asyncio": partial(python.maru, log="memory", loop="asyncio"),
    "maru-sqlite": partial(python.maru, log="sqlite"),
    "maru-redis": partial(python.maru, log="redis"),
    "maru-before": partial(python.before, log="memory"),
    "maru-sqlite-before": partial(python.before, log="sqlite"),
    "maru-redis-before": partial(python.before, log="redis"),
    "pyfloor": python.floor,
    "stock": python.stock,
    "stock-redis": python.stock,
    "node": socket_io.node,
    "node-streams": socket_io.node,
    "bun": socket_io.bun,
    "oxide": socket_io.oxide,
    "centrifugo": brokers.centrifugo,
    "centrifugo-history": partial(brokers.centrifugo, history=True),
    "centrifugo-redis": partial(brokers.centrifugo, history=True),
    "nats": brokers.nats,
    "jetstream": brokers.jetstream,
    "jetstream-always": partial(brokers.jetstream, sync="always"),
    "nchan": native.nchan,
    "bare": native.bare,
}

MEANING: Mapping[str, str] = {
    "maru": "Maru on uvloop, log in memory",
    "maru-asyncio": "Maru on plain asyncio, log in memory",
    "maru-sqlite": "Maru on uvloop, every message on disk before its ack (SQLite)",
    "maru-redis": "Maru on uvloop, every message in a Redis stream before its ack",
    "maru-before": "the Maru in the folder MARU_BENCH_BEFORE, log in memory",
    "maru-sqlite-before": "the same on SQLite",
    "maru-redis-before": "the same on Redis",
    "pyfloor": "the floor of Python: a protocol on uvloop that writes a ready answer, and does no work",
    "stock": "python-socketio on aiohttp and uvloop",
    "stock-redis": "the same, with its Redis manager",
    "node": "Socket.IO on Node.js",
    "node-streams": "the same, with its Redis Streams adapter",
    "bun": "Socket.IO on Bun, with Bun's own engine",
    "oxide": "Socket.IO in Rust: socketioxide on tokio",
    "centrifugo": "Centrifugo (Go), in memory, nothing kept",
    "centrifugo-history": "the same with a history of 1,000 messages, offsets and recovery",
    "centrifugo-redis": "the same, history in Redis streams",
    "nats": "NATS' WebSocket side (Go)",
    "jetstream": "NATS with JetStream in files, on disk each 2 minutes",
    "jetstream-always": "the same, every message on disk before its ack",
    "nchan": "nchan in nginx (C)",
    "bare": "a bare loop of send(2), in C: what the kernel alone costs",
}

NEEDS_REDIS = frozenset(("maru-redis", "maru-redis-before", "centrifugo-redis", "stock-redis", "node-streams"))
