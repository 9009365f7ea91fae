"""A well-behaved client, over all its connections: bytes in, bytes out, without I/O and without a clock.

It keeps positions and resumes from them, and keeps unanswered messages and sends them again under the same key, as
PROTOCOL.md asks of clients. It judges everything that the server sends by `loadtest.judge`.
"""

from collections.abc import Callable, Mapping, Sequence

from loadtest import wire
from loadtest.client_state import ClientState
from loadtest.frames import Frames, Opcode, WireError, close_code, frame
from loadtest.judge import Ack, ChannelRecord
from loadtest.traffic import Closed, Listener, Outgoing, Question, Refused, Stage
from loadtest.wire import Json

OUTBOX_LIMIT = 64
"""Unanswered messages of one client. With this many, its driver sends no more."""

RETRYABLE = frozenset(("rate_limited", "unavailable", "overloaded"))
"""Codes after which the same command may succeed later; `channel:removed` carries only the code."""


class Session:
    """A client that is in `channels` from its first connection on. `token` is called at each connection.

    `records` has a record of each channel, shared by all sessions of a process. A server that is silent for longer than
    `patience_s` is gone.
    """

    __slots__ = (
        "_acked",
        "_asked",
        "_frames",
        "_head",
        "_host",
        "_listener",
        "_number",
        "_out",
        "_token",
        "_welcomed",
        "channels",
        "outbox",
        "patience_s",
        "refusals",
        "stage",
        "state",
    )

    def __init__(
        self,
        host: str,
        token: Callable[[], str],
        channels: Sequence[str],
        records: Mapping[str, ChannelRecord],
        listener: Listener,
    ) -> None:
        self._host, self._token, self._listener = host, token, listener
        self.channels = channels
        self.state = ClientState(channels, records, listener)
        self.outbox: dict[str, Outgoing] = {}
        self.refusals: list[str] = []
        self.stage = Stage.AWAY
        self.patience_s = 20.0
        self._reset()

    def _reset(self) -> None:
        self._head = b""
        self._frames = Frames()
        self._out: list[bytes] = []
        self._asked: dict[int, str | Outgoing | Question] = {}
        self._acked: dict[str, int] = {}
        self._number = 0
        self._welcomed = False
        self.refusals.clear()

    # The connection

    def dial(self) -> bytes:
        """Begin a connection; return the bytes to write first."""
        self._reset()
        self.stage = Stage.SHAKING
        return wire.request(self._host)

    def hang_up(self) -> None:
        """Note that the connection is gone."""
        self.stage = Stage.AWAY
        for asked in self._asked.values():
            if isinstance(asked, Question):
                asked.lost()
        self._asked.clear()

    def hear(self, data: bytes) -> bytes:
        """Take the server's bytes; return the bytes to answer. Raises `Refused`, `Closed`, `WireError`."""
        if self.stage is Stage.SHAKING:
            head = wire.Head.parse(self._head + data)
            if head is None:
                self._head += data
                return b""
            if head.status != 101:
                raise Refused(
                    str(head.status),
                    "the handshake was refused",
                    retryable=head.status in {429, 502, 503, 504},
                    retry_after_s=head.retry_after_s,
                )
            self.stage, data = Stage.ENTERING, head.rest
        for opcode, payload in self._frames.feed(data):
            if opcode == Opcode.TEXT:
                try:
                    self._packet(payload)
                except KeyError as error:
                    raise WireError(f"a packet without {error}") from None
            elif opcode == Opcode.CLOSE:
                raise Closed(close_code(payload))
            elif opcode == Opcode.PING:
                self._out.append(frame(payload, Opcode.PONG))
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    def _packet(self, packet: bytes) -> None:
        if packet.startswith(wire.EVENT):
            self._event(*wire.parse_event_once(packet))
        elif packet.startswith(wire.ACK):
            self._answer(*wire.parse_ack(packet))
        elif packet == wire.PING:
            self._out.append(wire.PONG)
        elif packet.startswith(wire.CONNECT_ERROR):
            raise _refusal(wire.parse_object(packet, wire.CONNECT_ERROR)["data"])
        elif packet.startswith(wire.OPEN):
            opening = wire.parse_object(packet, wire.OPEN)
            self.patience_s = (opening["pingInterval"] + opening["pingTimeout"]) / 1_000
            self._out.append(wire.connect(self._token(), self.state.positions))
        elif packet.startswith(wire.DISCONNECT):
            raise Closed(1000)
        elif not packet.startswith(wire.CONNECT):
            raise WireError(f"an unknown packet of {len(packet)} bytes")

    # Events

    def _event(self, name: str, data: Json) -> None:
        if name == "channel:resumed":
            self.state.replayed(data)
        elif name == "channel:removed":
            code, problem = data["code"], f"removed from {data['channel']}"
            self._refused(data["channel"], Refused(code, problem, retryable=code in RETRYABLE))
        elif name == "session:draining":
            self._listener.draining(data["reconnect_in_ms"] / 1_000)
        elif name == "session:ready":
            self._welcomed = True
            for channel in self.state.unjoined:
                self._join(channel)
            self._perhaps_ready()
        elif "epoch" in data and "offset" in data:
            self.state.arrived(name, data, live=True)

    # Commands

    def say(self, message: Outgoing) -> bytes:
        """Send a message; return the bytes to write. If the session is not `READY`, the message goes out when it is."""
        self.outbox[message.key] = message
        if self.stage is not Stage.READY:
            return b""
        self._ask("message:send", message.payload, message)
        return self._taken()

    def retry(self) -> bytes:
        """Repeat the commands that were refused for now; return the bytes to write.

        Call it some time after the refusal.
        """
        refusals = self.refusals.copy()
        self.refusals.clear()
        for refused in refusals:
            if refused in self.state:
                self._join(refused)
            elif (message := self.outbox.get(refused)) is not None:
                self._ask("message:send", message.payload, message)
        return self._taken()

    def ask(self, question: Question) -> bytes:
        """Ask something else; return the bytes to write. Does not do it again."""
        self._ask(question.name, question.payload, question)
        return self._taken()

    def _ask(self, name: str, payload: Json, what: str | Outgoing | Question) -> None:
        self._number += 1
        self._asked[self._number] = what
        self._out.append(wire.command(self._number, name, payload))

    def _join(self, channel: str) -> None:
        position = self.state.position(channel)
        since = {} if position is None else {"since": position}
        self._ask("channel:join", {"channel": channel, **since}, channel)

    def _answer(self, number: int, answer: Json) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            raise WireError("an answer to nothing that was asked")
        if isinstance(asked, str):
            self._joined(asked, answer)
        elif isinstance(asked, Question):
            asked.answered(answer)
        else:
            self._sent(asked, answer)

    def _joined(self, channel: str, answer: Json) -> None:
        if not answer["ok"]:
            self._refused(channel, _refusal(answer["error"]))
        elif answer["recovered"] is None:
            self.state.joined(answer)
        else:
            self.state.replayed(answer)
        self._perhaps_ready()

    def _perhaps_ready(self) -> None:
        """Be ready if all channels are joined; then send all unanswered messages again, in their order."""
        joining = any(isinstance(asked, str) for asked in self._asked.values())
        if self.stage is Stage.READY or not self._welcomed or joining or self.refusals:
            return
        self.stage = Stage.READY
        for message in self.outbox.values():
            self._ask("message:send", message.payload, message)
        self._listener.ready()

    def _sent(self, message: Outgoing, answer: Json) -> None:
        if not answer["ok"]:
            self._refused(message, _refusal(answer["error"]))
            return
        self.outbox.pop(message.key, None)
        channel, offset = message.channel, answer["offset"]
        if not answer["duplicate"] and offset <= self._acked.get(channel, 0):
            self.state.stray(f"{channel}: a later send was acked at the earlier offset {offset}")
        self._acked[channel] = max(offset, self._acked.get(channel, 0))
        ack = Ack(channel, answer["epoch"], offset, message.key)
        self._listener.acked(message, ack, duplicate=answer["duplicate"])

    def _refused(self, what: str | Outgoing, refusal: Refused) -> None:
        """Keep a refusal for `retry`. A message that is refused for good is given up; so is a client without its
        channel: raises `Refused`."""
        name = what if isinstance(what, str) else what.key
        if refusal.retryable:
            self.refusals.append(name)
        elif isinstance(what, str):
            raise refusal
        else:
            self.outbox.pop(name, None)
        self._listener.refused(what, refusal)


def _refusal(error: Json) -> Refused:
    return Refused(error["code"], error["message"], retryable=error["retryable"])
