"""Every peer by its name."""

from collections.abc import Callable, Mapping
from functools import partial

from bench.peers import native, python
from bench.peers.base import Peer, Setting

START: Mapping[str, Callable[[str, Setting], Peer]] = {
    "maru": partial(python.maru, log="memory"),
    "maru-asyncio": partial(python.maru, log="memory", loop="asyncio"),
    "maru-sqlite": partial(python.maru, log="sqlite"),
    "maru-redis": partial(python.maru, log="redis"),
    "stock": python.stock,
    "stock-redis": python.stock,
    "node": native.node,
    "node-streams": native.node,
    "nats": native.nats,
    "nchan": native.nchan,
    "bare": native.bare,
}

MEANING: Mapping[str, str] = {
    "maru": "Maru on uvloop, log in memory",
    "maru-asyncio": "Maru on plain asyncio, log in memory",
    "maru-sqlite": "Maru on uvloop, every message on disk before its ack (SQLite)",
    "maru-redis": "Maru on uvloop, every message in a Redis stream before its ack",
    "stock": "python-socketio on aiohttp and uvloop",
    "stock-redis": "the same, with its Redis manager",
    "node": "Socket.IO on Node.js",
    "node-streams": "the same, with its Redis Streams adapter",
    "nats": "NATS' WebSocket side (Go)",
    "nchan": "nchan in nginx (C)",
    "bare": "a bare loop of send(2), in C: what the kernel alone costs",
}

NEEDS_REDIS = frozenset(("maru-redis", "stock-redis", "node-streams"))
