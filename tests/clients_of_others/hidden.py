"""What libraries hide: the cells that are marked `L`, each with its reason.

A cell that is listed here must fail: the list says no more than what is true.
"""

from collections.abc import Mapping

from tests.clients_of_others.clients import GO, JAVA3, JAVA4, JS31, JS40, PY_SYNC, RUST, SIMPLE

_NO_REASON = "says `One or more namespaces failed to connect: /chat`, and drops the reason"
_ONE = "has one namespace a client, and no WebSocket for two of them"

HIDDEN: Mapping[tuple[str, str], str] = {
    ("wrong token", SIMPLE): _NO_REASON,
    ("expired token", SIMPLE): _NO_REASON,
    ("no token", SIMPLE): _NO_REASON,
    ("default namespace", SIMPLE): _NO_REASON,
    ("stale token", SIMPLE): "has no handler for a refusal when it comes back, and tries again in silence",
    ("two namespaces", SIMPLE): _ONE,
    ("two namespaces", RUST): _ONE,
    ("default transports", SIMPLE): "gives the status, 400, and drops the body",
    ("default transports", JS31): "gives the status, 400, and drops the body",
    ("default transports", JS40): "gives the status, 400, and drops the body",
    ("default transports", JAVA3): "gives the status, 400, and drops the body",
    ("default transports", JAVA4): "gives the status, 400, and drops the body",
    ("default transports", GO): "says `fetch read error`, and drops the status and the body",
    ("default transports", RUST): "reads the body of any answer as packets, and says `InvalidPacketId(123)`",
}

_THREADS = "handles each packet in a thread of its own: events are compared in the order of their offsets"

UNORDERED: Mapping[str, str] = {PY_SYNC: _THREADS, SIMPLE: _THREADS}
"""Clients that do not keep the order in which events arrived, and how they are judged."""
