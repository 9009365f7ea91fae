"""What a stranger's emit may be."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.redis.foreign import MAX_BYTES, foreign_emit
from server.domain.pushes import Emitted
from tests.doubles.samples import nested

EMIT: dict[str, Any] = {
    "method": "emit",
    "event": "deploy",
    "data": [{"version": 7}],
    "binary": False,
    "namespace": "/chat",
    "room": "room:1",
    "skip_sid": None,
    "callback": None,
    "host_id": "stranger",
}

# The protocol's, now or later, however they are written.
OF_THE_PROTOCOL = (
    *("order:created", "Message:created", "MESSAGE:CREATED", "auth:refresh", "typing:changed", "a:b:c", "app:", ":"),
    *("message\uff1acreated", "\uff1ax", "\ufb01:x", "\u017fession:x"),
)
OF_LIBRARIES = (
    *("connect", "connect_error", "connect_timeout", "connecting", "connection", "disconnect", "disconnecting"),
    *("Connect", "DISCONNECT", "\uff43onnect", "newListener", "removeListener", "newlistener", "error", "Error"),
    *("ping", "pong", "reconnect", "reconnect_attempt", "reconnect_failed", "reconnecting", "message", "Message"),
    *("statusChange", "websocketUpgrade"),
)
OF_OBJECTS = (
    *("__proto__", "__PROTO__", "__disconnect_final", "__init__", "constructor", "Constructor", "prototype"),
    *("hasOwnProperty", "toString", "valueOf"),
)
UNSEEN = (
    "con\u200bnect",
    "connect\u00a0",
    " connect",
    "connect ",
    "error\n",
    "\u202eerror",
    "x\x00",
    " deploy",
    "error\ufe0f",
    "de\u3164ploy",
)
RESERVED_NAMES = (*OF_THE_PROTOCOL, *OF_LIBRARIES, *OF_OBJECTS, *UNSEEN)


@pytest.mark.parametrize("name", ["deploy", "Deploy done", "errors", "pinged", "messages", "配備", "café", "x" * 64])
def test_other_names_are_free(name: str) -> None:
    """An application's own."""
    assert foreign_emit(orjson.dumps(EMIT | {"event": name})) == ("room:1", Emitted(name, [{"version": 7}]))


def test_an_emit_into_a_channel_is_taken() -> None:
    """With its event, its data and its channel."""
    assert foreign_emit(orjson.dumps(EMIT)) == ("room:1", Emitted("deploy", [{"version": 7}]))


@pytest.mark.parametrize(("data", "taken"), [([], []), ([1, 2], [1, 2]), ([None], ()), ([nested(32)], [nested(32)])])
def test_an_emit_has_any_number_of_arguments(data: list[Any], taken: Sequence[object]) -> None:
    """None, one or several, as the stock manager packs them."""
    assert foreign_emit(orjson.dumps(EMIT | {"data": data})) == ("room:1", Emitted("deploy", taken))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "disconnect"},
        {"method": "enter_room"},
        {"method": "close_room"},
        {"method": "callback"},
        {"method": ["emit"]},
        {"namespace": "/"},
        {"namespace": None},
        {"room": None},
        {"room": ""},
        {"room": []},
        {"room": ["room:1"]},
        {"room": 7},
        {"room": "Room 1"},
        {"room": "oT4WlDXmLOtqV8hnAAAB"},
        {"binary": True},
        {"callback": ["room:1", "/chat", 1]},
        {"data": {"version": 7}},
        {"data": "version"},
        {"data": [nested(33)]},
        {"event": None},
        {"event": 7},
        {"event": "x" * 65},
        {"event": "message:created"},
        {"event": "channel:removed"},
        {"event": "session:terminated"},
        {"event": ""},
        {"event": "*"},
        *({"event": name} for name in RESERVED_NAMES),
    ],
    ids=str,
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    """Other methods, other namespaces, no channel, everybody, a client, the protocol's own events, what is too deep."""
    assert foreign_emit(orjson.dumps(EMIT | change)) is None


@pytest.mark.parametrize("missing", ["method", "event", "data", "namespace", "room"])
def test_an_emit_is_whole(missing: str) -> None:
    """Without one of its fields it is none."""
    assert foreign_emit(orjson.dumps({name: value for name, value in EMIT.items() if name != missing})) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1",
        b"null",
        b"[]",
        b'"emit"',
        b"{",
        b"\xff\xfe",
        b"NaN",
        b"\x80\x04K\x01.",
        b"[" * 100_000,
        b"[" * 60_000,
        orjson.dumps(EMIT).replace(b'"deploy"', b'"\\ud800"'),
        orjson.dumps(EMIT | {"data": ["x" * MAX_BYTES]}),
    ],
)
def test_what_is_no_emit_is_refused(payload: bytes) -> None:
    """Bare numbers, broken or endless JSON, pickles, lone surrogates, and what is too long."""
    assert foreign_emit(payload) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(payload: bytes) -> None:
    """Whatever comes is judged, and never an exception."""
    assert foreign_emit(payload) is None
