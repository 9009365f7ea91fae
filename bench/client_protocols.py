"""The bytes that a client sends to each kind of server, made before the clock starts, and the answers' marks. Pure.

A conversation is a list of (say, until): send the bytes `say`, then read until the bytes `until` have come.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.marker import MARKER, text_of
from loadtest.frames import Opcode, frame

MAX_TEXT = 4_000
"""Characters of a message's text; a longer message has the rest in `data`, as an application would do it."""

ENVELOPE_BYTES = 390
"""Bytes of a delivered event of Maru's without the message itself: frame head, position, id, author, times. Peers'
messages are padded, so that all delivered frames have the same size; the tables show the received bytes."""

OWN_BYTES: Mapping[str, int] = {"socket.io": 134, "nats": 24, "jetstream": 24, "nchan": 4, "centrifugo": 157, "bare": 0}
"""The part of it that a peer's frame has by itself; the rest is padding."""


def padding(protocol: str) -> int:
    """Return the bytes that a peer adds to a message, to make it as long as Maru's event."""
    return ENVELOPE_BYTES - OWN_BYTES[protocol]


class Line(NamedTuple):
    """A step of a conversation."""

    say: bytes
    until: bytes


Conversation = tuple[Line, ...]


@dataclass(slots=True)
class Plan:
    """A client that is to connect: its port, and its conversation."""

    port: int
    lines: Conversation


def upgrade(path: str, *headers: str) -> bytes:
    """A WebSocket handshake (RFC 6455, section 4.1). It offers no compression."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True, slots=True)
class ClientProtocol:
    """The bytes of a kind of server. `ping` is its heartbeat, `pong` the answer. `ask` is the cheapest question with an
    answer, and `answer` the mark of that answer."""

    connect: Callable[[str], Conversation]
    """From the first byte to an admitted client, with a token."""
    join: Callable[[str], Conversation]
    """From an admitted client to a member of a channel."""
    publish: Callable[[str, int], bytes]
    """A message of a number of bytes for a channel."""
    ping: bytes
    pong: bytes
    ask: bytes
    answer: bytes
    enter_at_handshake: bool = False
    """Whether `connect` takes a channel instead of a token: the handshake makes a member."""
    connect_sender: Callable[[str], Conversation] | None = None
    """The way of a sender to connect, if it differs."""
    connect_prober: Conversation | None = None
    """The way of a prober to connect, if it differs."""
    acked: bytes = MARKER
    """The mark of the answer to a message, once in each."""
    pong_unasked: bool = True
    """Whether the server takes a pong that it did not ask for."""
    grants: bool = True
    """Whether the token names the channels that its user may enter."""
    named: bool = False
    """Whether `connect` takes the client's name instead of a token."""
    publish_as: Callable[[str, str, int], bytes] | None = None
    """A message of a client (its name, the channel, the bytes), if its answer needs the client's name."""


def _event(ack: int, name: str, body: Mapping[str, object]) -> bytes:
    return frame(f"42/chat,{ack}{json.dumps([name, body], separators=(',', ':'))}".encode())


def _socket_io(auth: Callable[[str], str], ready: bytes, acked: bytes = MARKER) -> ClientProtocol:
    handshake = Line(upgrade("/socket.io/?EIO=4&transport=websocket"), b'"maxPayload"')
    return ClientProtocol(
        connect=lambda token: (handshake, Line(frame(f"40/chat,{auth(token)}".encode()), ready)),
        join=lambda channel: (Line(_event(1, "channel:join", {"channel": channel}), b"43/chat,1["),),
        publish=lambda channel, size: _event(2, "message:send", {"channel": channel, **content(size)}),
        ping=b"\x81\x012",
        pong=frame(b"3"),
        ask=_event(3, "channel:leave", {"channel": "room:nobody"}),
        answer=b"43/chat,3[",
        acked=acked,
    )


def content(size: int) -> dict[str, object]:
    """Return a message of `size` bytes as an application gives it: text, and the rest as data."""
    if size <= MAX_TEXT:
        return {"text": text_of(size)}
    return {"text": text_of(MAX_TEXT), "data": {"rest": "d" * (size - MAX_TEXT)}}


def _nats() -> ClientProtocol:
    def publish(channel: str, size: int) -> bytes:
        text = text_of(size + padding("nats"))
        return _nats_frame(f"PUB {_subject(channel)} {len(text)}", text)

    return ClientProtocol(
        connect=lambda _: _nats_entry(),
        join=lambda channel: (Line(_nats_frame(f"SUB {_subject(channel)} 1", "PING"), b"PONG\r\n"),),
        publish=publish,
        ping=b"PING\r\n",
        pong=_nats_frame("PONG"),
        ask=_nats_frame("PING"),
        answer=b"PONG\r\n",
    )


def _jetstream() -> ClientProtocol:
    """NATS with its log: the stream's answer to a message comes to an inbox of the client."""

    def publish_as(name: str, channel: str, size: int) -> bytes:
        text = text_of(size)  # what is around a kept message is the log's own
        return _nats_frame(f"PUB {_subject(channel)} _INBOX.{name} {len(text)}", text)

    return replace(
        _nats(),
        connect=lambda name: _nats_entry(f"SUB _INBOX.{name} 9"),
        acked=b'"seq":',
        named=True,
        publish_as=publish_as,
    )


def _nats_entry(*further: str) -> Conversation:
    hello = 'CONNECT {"verbose":false,"pedantic":false,"echo":false}'
    return Line(upgrade("/"), b"INFO {"), Line(_nats_frame(hello, *further, "PING"), b"PONG\r\n")


def _nats_frame(*lines: str) -> bytes:
    return frame("".join(f"{line}\r\n" for line in lines).encode(), Opcode.BINARY)


def _subject(channel: str) -> str:
    return channel.replace(":", ".")


def _centrifugo() -> ClientProtocol:
    """Centrifugo's JSON protocol: commands and replies, one a line. Its answer to a message holds no copy of it."""

    def command(**body: object) -> bytes:
        return frame(json.dumps(body, separators=(",", ":")).encode())

    def publish(channel: str, size: int) -> bytes:
        data = {**content(size), "pad": "p" * padding("centrifugo")}
        return command(id=3, publish={"channel": channel, "data": data})

    handshake = Line(upgrade("/connection/websocket"), b"\r\n\r\n")
    return ClientProtocol(
        connect=lambda token: (handshake, Line(command(id=1, connect={"token": token}), b'"connect":{')),
        join=lambda channel: (Line(command(id=2, subscribe={"channel": channel}), b'"subscribe":{'),),
        publish=publish,
        ping=b"\x81\x02{}",
        pong=frame(b"{}"),
        ask=command(id=4, history={"channel": "room:nobody", "limit": 0}),
        answer=b'"id":4',
        acked=b'"publish":{',
        pong_unasked=False,
        grants=False,
    )


def _nchan() -> ClientProtocol:
    return ClientProtocol(
        connect=lambda channel: (Line(upgrade(f"/subscribe?id={channel}"), b"\r\n\r\n"),),
        join=lambda _: (),
        publish=lambda _, size: frame(text_of(size + padding("nchan")).encode()),
        ping=b"\x89\x00",
        pong=frame(b"", Opcode.PONG),
        ask=b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        answer=b"Waiting:",
        enter_at_handshake=True,
        connect_sender=lambda channel: (Line(upgrade(f"/publish?id={channel}"), b"\r\n\r\n"),),
        connect_prober=(),
    )


def _bare() -> ClientProtocol:
    return ClientProtocol(
        connect=lambda _: (Line(b"M", b"+"),),
        join=lambda _: (),
        publish=lambda *_: b"!",
        ping=b"(never)",
        pong=b"",
        ask=b"",
        answer=b"",
        connect_sender=lambda _: (Line(b"S", b"+"),),
    )


PROTOCOLS: Mapping[str, ClientProtocol] = {
    "maru": _socket_io(lambda token: json.dumps({"token": token}, separators=(",", ":")), b'"session:ready"'),
    "socket.io": _socket_io(lambda _: "", b'40/chat,{"sid"', acked=b'43/chat,2[{"ok":true'),
    "nats": _nats(),
    "jetstream": _jetstream(),
    "centrifugo": _centrifugo(),
    "nchan": _nchan(),
    "bare": _bare(),
}
