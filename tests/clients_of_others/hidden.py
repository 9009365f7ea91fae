"""What libraries hide: the cells that are marked `L`, each with its reason.

A cell that is listed here must fail: the list says no more than what is true.
"""

from collections.abc import Mapping

from tests.clients_of_others.clients import PY_SYNC, RUST, SIMPLE

_NO_REASON = "says `One or more namespaces failed to connect: /chat`, and drops the reason"
_ONE = "has one namespace a client, and no WebSocket for two of them"

HIDDEN: Mapping[tuple[str, str], str] = {
    ("wrong token", SIMPLE): _NO_REASON,
    ("expired token", SIMPLE): _NO_REASON,
    ("no token", SIMPLE): _NO_REASON,
    ("default namespace", SIMPLE): _NO_REASON,
    ("two namespaces", SIMPLE): _ONE,
    ("two namespaces", RUST): _ONE,
}

_THREADS = "handles each packet in a thread of its own: events are compared in the order of their offsets"

UNORDERED: Mapping[str, str] = {PY_SYNC: _THREADS, SIMPLE: _THREADS}
"""Clients that do not keep the order in which events arrived, and how they are judged."""
