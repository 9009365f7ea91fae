"""The server's side of a session, byte by byte, as a test wants it: right, or wrong on purpose."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from loadtest.judge import Ack, ChannelRecord, Verdict
from loadtest.session import Session
from loadtest.traffic import Listener, Outgoing, Refused, Stage
from loadtest.wire import Json
from tests.clients.frames import unmasked

CHANNEL, EPOCH = "room:a", "one"

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def event(name: str, data: Json) -> bytes:
    """An EVENT."""
    return unmasked("42/chat," + orjson.dumps([name, data]).decode())


def ack(number: int, answer: Json) -> bytes:
    """An ACK."""
    return unmasked(f"43/chat,{number}" + orjson.dumps([answer]).decode())


def created(offset: int, key: str | None = None, channel: str = CHANNEL, epoch: str = EPOCH) -> Json:
    """A log event."""
    message = {"id": f"id-{offset}", "key": key or f"key-{offset}", "text": "x", "data": None, "version": 1}
    return {"event": "message:created", "channel": channel, "epoch": epoch, "offset": offset, "message": message}


def live(offset: int, **how: Any) -> bytes:
    """A log event, pushed."""
    return event("message:created", created(offset, **how))


def resumed(offset: int, offsets: Sequence[int], *, recovered: bool = True, **more: Any) -> bytes:
    """The answer to a resume."""
    events = [created(each) for each in offsets]
    data = {"channel": CHANNEL, "epoch": EPOCH, "offset": offset, "recovered": recovered, "events": events}
    return event("channel:resumed", data | more)


OPEN = unmasked('0{"sid":"s","upgrades":[],"pingInterval":2000,"pingTimeout":1000,"maxPayload":65536}')
CONNECTED = unmasked('40/chat,{"sid":"s"}')
READY = event("session:ready", {"user": "u"})


def said(data: bytes) -> list[Any]:
    """The commands in what a client writes: number, name, payload."""
    commands = []
    for part in data.split(b"42/chat,")[1:]:
        number, _, rest = part.partition(b"[")
        name, payload = orjson.loads(b"[" + rest[: rest.rindex(b"]") + 1])
        commands.append((int(number), name, payload))
    return commands


class Heard(Listener):
    """Notes everything."""

    def __init__(self) -> None:
        self.times_ready = 0
        self.events: list[tuple[int, bool]] = []
        self.acks: list[tuple[str, Ack]] = []
        self.refusals: list[tuple[str, Refused]] = []
        self.moves: list[float] = []
        self.faults: list[Verdict] = []

    def ready(self) -> None:
        self.times_ready += 1

    def heard(self, event: Json, *, live: bool) -> None:
        self.events.append((event["offset"], live))

    def acked(self, message: Outgoing, ack: Ack, *, duplicate: bool) -> None:
        self.acks.append((message.key, ack))

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        self.refusals.append((what if isinstance(what, str) else what.key, refusal))

    def draining(self, reconnect_in_s: float) -> None:
        self.moves.append(reconnect_in_s)

    def fault(self, verdict: Verdict, where: str) -> None:
        self.faults.append(verdict)


class Visit:
    """A session of one channel, and what its listener heard."""

    def __init__(
        self, token: Callable[[], str] = lambda: "TOKEN", records: Mapping[str, ChannelRecord] | None = None
    ) -> None:
        self.heard = Heard()
        self.session = Session("host:1", token, [CHANNEL], records or {CHANNEL: ChannelRecord()}, self.heard)

    def stage(self) -> Stage:
        """How far it is."""
        return self.session.stage

    def enter(self, offset: int = 0) -> None:
        """Connect for the first time and join, at an offset."""
        self.session.dial()
        self.session.hear(SWITCHING + OPEN + CONNECTED)
        asked = said(self.session.hear(READY))
        assert asked == [(1, "channel:join", {"channel": CHANNEL})]
        self.session.hear(ack(1, joined(offset)))

    def come_back(self, *answers: bytes) -> bytes:
        """Lose the connection, and connect again; return what it says at last."""
        self.session.hang_up()
        self.session.dial()
        self.session.hear(SWITCHING + OPEN + CONNECTED)
        return self.session.hear(b"".join(answers))


def joined(offset: int, **more: Any) -> Json:
    """The answer to a first join."""
    return {
        "ok": True,
        "channel": CHANNEL,
        "epoch": EPOCH,
        "offset": offset,
        "recovered": None,
        "events": [],
    } | more


def kept(offset: int, *, duplicate: bool = False) -> Json:
    """The answer to a send."""
    return {"ok": True, "epoch": EPOCH, "offset": offset, "duplicate": duplicate, "message": {}}


def failed(code: str, *, retryable: bool) -> Json:
    """The answer to what was not done."""
    return {"ok": False, "error": {"code": code, "message": "m", "retryable": retryable}}
