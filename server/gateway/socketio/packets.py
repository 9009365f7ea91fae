"""Socket.IO packets (protocol revision 5), read strictly.

A packet that a client may not send is an error with a close code, found before anything is dispatched: binary packets,
packets of the server's kinds, unbounded numbers, invalid JSON (NaN, lone surrogates, 1e999).
"""

import json
import re
from typing import Any

import orjson
from socketio import packet

from server.gateway.websocket.frames import CloseCode, HostilePacket
from server.wire.words import NAMESPACE, Command

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ACK_DIGITS = 15
"""Ack ids stay exact in JavaScript."""

MAX_NAMESPACE_CHARS = 128

MAX_SEND_CHARS = 1_024
"""Of a `message:send` in its ordinary form: the answers to 128 of them, in a turn, are far less than may wait for a
client."""

MAX_EXACT_DIGITS = 1_000
"""Digits of a whole number that are read: far more than a command may have."""

_LONG_NUMBER = re.compile(r"[0-9]{19}")
"""So many digits may be a whole number of more than 64 bits, of which the fast parser makes another number."""

HEAD = f"{EVENT}{NAMESPACE},"
"""Begins a command in its ordinary form; its ack id follows."""

MAX_NAME_CHARS = 256
"""Of a command's name that is looked at, as it is written: more than any name has, if each letter is escaped."""

_DISCONNECT_KIND, _ACK_KIND = str(DISCONNECT), str(ACK)

_HEAD_CHARS = len(HEAD) + MAX_ACK_DIGITS + 32
"""The beginning of a command in its ordinary form: no name is longer than the rest of it."""

_NAME = re.compile(rf"""[ \t\r\n]*+\[[ \t\r\n]*+("(?:[^"\\]|\\.){{0,{MAX_NAME_CHARS}}}+")""")
"""The name at the beginning of a command's data, behind any number of spaces."""

_DIGITS = re.compile(r"[0-9]*")

_COMMAND = re.compile(rf"{EVENT}{NAMESPACE},([0-9]{{1,{MAX_ACK_DIGITS}}})(?=\[)")
"""What stands before the data of a command that wants an answer."""

_SEND = re.compile(rf'{EVENT}{NAMESPACE},([0-9]{{1,{MAX_ACK_DIGITS}}})\["{Command.SEND}", ?(?=\{{)')
"""What stands before the payload of a `message:send` that wants an answer."""


_JOIN = re.compile(rf'{EVENT}{NAMESPACE},([0-9]{{1,{MAX_ACK_DIGITS}}})\["{Command.JOIN}", ?(?=\{{)')
"""What stands before the payload of a `channel:join` that wants an answer."""

_CONNECT = f"{CONNECT}{NAMESPACE},"
"""What stands before the payload of a CONNECT to the namespace."""


class StrictJson:
    """The `json` that packets are written with: compact, and never NaN or a lone surrogate."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        """As `json.dumps` with compact separators."""
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: object) -> Any:
        """As `json.loads`, strict."""
        return orjson.loads(text)


class ChatPacket(packet.Packet):
    """A packet without binary parts: what python-socketio's own `emit` writes."""

    uses_binary_events = False
    json = StrictJson


def read(text: str) -> tuple[int, str | None, int | None, Any]:
    """Read a client's packet: type, namespace, ack id, data. Raises `HostilePacket`."""
    namespace: str | None
    id: int | None
    if (usual := _COMMAND.match(text)) is not None:  # nearly all are: the same as below, in a step
        kind, namespace, id, rest = EVENT, NAMESPACE, int(usual[1]), text[usual.end() :]
    else:
        kind = _kind(text)
        namespace, rest = _namespace(text[1:])
        id, rest = _ack_id(rest)
    data = _payload(rest)
    if _may_hold_long_number(rest):
        data = _exact(rest, data)
    _check_shape(kind, data)
    return kind, namespace, id, data


def read_send(text: str) -> tuple[int, Any] | None:
    """Read a `message:send` in its ordinary form: ack id, payload. Return None for every other packet, be it malformed:
    `read` tells."""
    found = _SEND.match(text) if len(text) <= MAX_SEND_CHARS else None
    if found is None or text[-1] != "]" or _may_hold_long_number(text):
        return None
    try:
        return int(found[1]), orjson.loads(text[found.end() : -1])
    except orjson.JSONDecodeError:
        return None


def command_name(text: str) -> str | None:
    """Return the name of a command without parsing its payload; None if the packet is no command. A name that is too
    long to be known is empty."""
    head, _, quoted = text[:_HEAD_CHARS].partition('"')
    name, end, _ = quoted.partition('"')
    if end and head.startswith(HEAD) and "\\" not in name:
        return name
    try:
        if _kind(text) != EVENT:
            return None
        _, rest = _namespace(text[1:])
        _, rest = _ack_id(rest)
    except HostilePacket:
        return None
    named = _NAME.match(rest)
    try:
        return "" if named is None else str(orjson.loads(named[1]))
    except orjson.JSONDecodeError:
        return ""


def asks_nothing(text: str) -> bool:
    """Say whether a packet is an ACK, although the server asks for none, or a DISCONNECT of another namespace."""
    return text.startswith(_ACK_KIND) or (
        text.startswith(_DISCONNECT_KIND) and text[1:].partition(",")[0].partition("?")[0] != NAMESPACE
    )


def ack_id(text: str) -> int | None:
    """Return the ack id of a command; None if it has none."""
    found = _DIGITS.match(text, text.find(",") + 1)
    return int(found[0]) if found is not None and 0 < len(found[0]) <= MAX_ACK_DIGITS else None


def read_connect(text: str) -> dict[str, Any] | None:
    """Read a CONNECT to the namespace that resumes nothing: its payload. Return None for every other packet, be it
    malformed: `read` tells."""
    if not text.startswith(_CONNECT) or '"resume"' in text:  # a resume is long, and is not to be parsed twice
        return None
    try:
        payload = orjson.loads(text[len(_CONNECT) :])
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None


def read_join(text: str) -> tuple[int, Any] | None:
    """As `read_send`, with a `channel:join`."""
    found = _JOIN.match(text) if len(text) <= MAX_SEND_CHARS else None
    if found is None or text[-1] != "]":
        return None
    try:
        return int(found[1]), orjson.loads(text[found.end() : -1])
    except orjson.JSONDecodeError:
        return None


def _kind(text: str) -> int:
    kind = "0123456".find(text[:1]) if text else -1
    if kind in (BINARY_EVENT, BINARY_ACK):
        raise HostilePacket("binary packet", CloseCode.UNSUPPORTED_DATA)
    if kind not in (CONNECT, DISCONNECT, EVENT, ACK):
        raise HostilePacket("malformed packet: type")
    return kind


def _namespace(text: str) -> tuple[str | None, str]:
    if not text.startswith("/"):
        return None, text
    name, _, rest = text.partition(",")
    name = name.partition("?")[0]  # older clients send their query here; it is not used
    if len(name) > MAX_NAMESPACE_CHARS:
        raise HostilePacket("malformed packet: namespace")
    return name, rest


def _ack_id(text: str) -> tuple[int | None, str]:
    digits = _DIGITS.match(text)
    assert digits is not None  # none are some too
    end = digits.end()
    if end > MAX_ACK_DIGITS:
        raise HostilePacket("malformed packet: ack id")
    return (int(digits[0]) if end else None), text[end:]


def _payload(text: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HostilePacket("malformed packet: JSON") from None  # the error holds the packet


def _may_hold_long_number(text: str) -> bool:
    """Whether `data`, also if its name is written with escapes, may hold a number that the fast parser changes."""
    return ('"data"' in text or "\\u" in text) and _LONG_NUMBER.search(text) is not None


def _exact(text: str, data: Any) -> Any:
    """Parse sound JSON again, so that each whole number is exact: whoever takes the numbers can refuse them. Return
    `data` if it is nested too deep for that, as no command may be."""
    try:
        return json.loads(text, parse_int=lambda digits: int(digits[:MAX_EXACT_DIGITS]))
    except RecursionError:
        return data


def _check_shape(kind: int, data: Any) -> None:
    if kind == EVENT:
        named = isinstance(data, list) and data and isinstance(data[0], str)
        if not named:
            raise HostilePacket("malformed packet: event")
    elif kind == ACK and not isinstance(data, list):
        raise HostilePacket("malformed packet: ack")
