"""A client's WebSocket: the protocol of the transport after the handshake.

An idle connection has no task, no timer and no queue of its own. Frames are written at the end of each turn of the
event loop (`Outbox`), bounded.
"""

import asyncio
import time
from typing import Any

from aiohttp.http import WSMsgType

from server.application.sessions.session import Session
from server.domain.outcomes import CLIENT_AT_FAULT, CloseReason
from server.domain.proxies import NOBODY, Client
from server.gateway.websocket.events import ConnectionEvents, ConnectionState
from server.gateway.websocket.frames import CloseCode, Opcode, close_frame, frame
from server.gateway.websocket.gate import Gate
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.packet_queue import PacketQueue
from server.gateway.websocket.reader import LAST_READ_AFTER_FAULT, LAST_READ_BYTES, Reader
from server.gateway.websocket.verdict import BROKEN, CLOSED_BY_CLIENT, LEFT, LOST, NO_CONNECT, Verdict, why
from server.gateway.websocket.writer import Writer

CLOSE_WAIT_S = 2.0
"""How long the peer has to answer a close frame, or to read what comes before it, until the transport is aborted."""

PART_WAIT_S = 1.0
"""How long a client that has been told why its session ends has to close first. A library that meets the close frame in
the same moment may forget the rest."""


class Connection(asyncio.Protocol):
    """A WebSocket. Its end is told to `ConnectionEvents` in this order:

    1. `leaving`, if the client has closed, by a close frame or by ending its side of TCP. Both may come.
    2. `lost`, once, when the transport is gone for whatever reason.
    3. `ended`, once, when the transport is gone and the last packet that was read has been handled.
    """

    __slots__ = {
        "_outbox": "Writes at the end of the turn.",
        "_sends_close": "Whether the client's library notices a close frame.",
        "_state": "How far the connection is.",
        "_transport": "The TCP connection.",
        "address": "The client's address for the bounds of each address; None if it is not counted.",
        "cause": "Why the connection ends; None until then.",
        "close_code": "The code of the first close frame; None if there has been none.",
        "events": "Is told how the connection goes on, and handles packets.",
        "former": "The session that the client has left last; None if it has left none.",
        "gate": "Judges packets before they are taken; None until the client has a session.",
        "id": "The `sid` of Engine.IO.",
        "late_events": "How many events came without a session.",
        "opened_at": "The monotonic time of the handshake.",
        "packets": "Packets that have been read, and are not answered yet.",
        "reader": "The reading half.",
        "reason": "The cause in words, for the log.",
        "refusals": "How many CONNECTs have been refused.",
        "remote": "The client's address, for the log.",
        "session": "The client's session; None until its CONNECT is admitted, and after it has left the session.",
        "slot": "The connection's place on the heartbeat's wheel.",
        "verdict": "How the connection is closed if it gets no session in time.",
        "writer": "The writing half.",
    }

    def __init__(
        self,
        events: ConnectionEvents["Connection"],
        id: str,
        transport: asyncio.Transport,
        inbox: Inbox,
        outbox: Outbox,
        client: Client = NOBODY,
        *,
        sends_close: bool = True,
    ) -> None:
        self.events = events
        self._transport = transport
        self._outbox = outbox
        self._sends_close = sends_close
        self.reader = Reader(transport, inbox)
        self.writer = Writer(transport, outbox, self)
        self.packets: PacketQueue[Connection] = PacketQueue(self, outbox)
        self._state = ConnectionState.OPEN
        self.id = id
        self.session: Session | None = None
        self.former: Session | None = None
        self.refusals = self.late_events = 0
        self.verdict: Verdict = NO_CONNECT
        self.gate: Gate[Connection] | None = None
        self.slot = 0
        self.opened_at = time.monotonic()
        self.remote, self.address = client
        self.cause: CloseReason | None = None
        self.reason: str | None = None
        self.close_code: int | None = None

    def is_open(self) -> bool:
        """Say whether the connection is neither closing nor closed."""
        return self._state is ConnectionState.OPEN

    # Writing

    def write(self, data: bytes) -> None:
        """Write whole frames at the end of this turn, if the connection is open."""
        if self._state is ConnectionState.OPEN:
            self._outbox.write_one(self.writer, data)

    def pause_writing(self) -> None:
        """Tell the writer that the kernel's buffer is full."""
        self.writer.pause()

    def resume_writing(self) -> None:
        """Tell the writer that the kernel has taken everything."""
        self.writer.resume()

    # Reading

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        self._outbox.traffic.received_bytes += len(data)
        self.packets.begin_read()
        self.reader.feed(data, self)

    def has_room(self) -> bool:
        """Say whether few enough packets wait to be handled, and whether the client's last CONNECT is answered."""
        return self.packets.has_room() and not (self.session is None and self.packets.busy)

    def hold(self, size: int) -> None:
        """Count so many bytes more, or fewer, that have been read and wait."""
        self._outbox.memory.hold(self.writer, size)

    def take(self, message: Any) -> None:
        """Take a message from the reader."""
        if message.type is WSMsgType.CLOSE:
            code = message.data or CloseCode.NORMAL
            self._close(code, *why(CLOSED_BY_CLIENT, self.session, self.verdict), close_frame(CloseCode.NORMAL))
            self.events.leaving(self)
        elif self._state is not ConnectionState.OPEN:
            return
        elif message.type is WSMsgType.TEXT:
            self._take_text(message.data)
        elif message.type is WSMsgType.PING:
            self.write(frame(bytes(message.data), Opcode.PONG))
        elif message.type is WSMsgType.BINARY:
            self.close(CloseCode.UNSUPPORTED_DATA, CloseReason.MALFORMED, "binary message")

    def _take_text(self, text: str) -> None:
        """Judge an Engine.IO packet (protocol revision 4)."""
        kind = text[:1]
        if kind == "4":
            self.packets.put(text[1:])
            if self.session is None and self.packets.busy:
                self.reader.pause()
        elif kind == "1":
            self.close(CloseCode.NORMAL, *why(LEFT, self.session, self.verdict))
        elif kind == "b":
            self.close(CloseCode.UNSUPPORTED_DATA, CloseReason.MALFORMED, "binary packet")
        elif text != "3":  # a pong: the reader has noted that something came
            self.close(CloseCode.POLICY_VIOLATION, CloseReason.MALFORMED, "malformed packet: Engine.IO type")

    # Ending

    def part(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        """Write and take nothing more, and close as `close` does if the client has not closed in `PART_WAIT_S`."""
        if self.is_open():
            self.writer.flush_now()
        if self.is_open():
            self._state = ConnectionState.PARTING
            self.cause, self.reason = cause, reason
            self.writer.refuse()
            self.reader.seek_close(self)
            asyncio.get_running_loop().call_later(PART_WAIT_S, self.close, code, cause, reason)

    def close(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        """Write a close frame and wait at most `CLOSE_WAIT_S` for the peer's, then abort. The first call counts.

        If the client's library does not notice a close frame, the stream is ended in its place.
        """
        self._close(code, cause, reason, close_frame(code, reason) if self._sends_close else None)

    def _close(self, code: int, cause: CloseReason, reason: str, sent: bytes | None) -> None:
        if self.is_open():
            self.writer.flush_now()
        if self._state >= ConnectionState.CLOSING:
            return  # it has been closed before, or just now because too much waits for the client
        self._state = ConnectionState.CLOSING
        self.cause, self.reason = self.cause or cause, self.reason or reason
        if sent is None:
            self.writer.finish_stream()
        else:
            self.close_code = int(code)
            self.writer.finish(sent)
        if not self._transport.is_closing():
            self.reader.seek_close(self, LAST_READ_AFTER_FAULT if cause in CLIENT_AT_FAULT else LAST_READ_BYTES)
            asyncio.get_running_loop().call_later(CLOSE_WAIT_S, self._transport.abort)

    def break_off(self, code: CloseCode, reason: str) -> None:
        """Close a connection whose frames can't be read any further. The peer's close frame can't be waited for, so the
        stream is ended behind the server's: the peer sees the end at once."""
        cause = CloseReason.TOO_BIG if code is CloseCode.MESSAGE_TOO_BIG else CloseReason.MALFORMED
        self.close(code, cause, reason)
        self.reader.stop(self)
        self.writer.finish_stream()

    def abort(self, cause: CloseReason, reason: str) -> None:
        """Cut the connection off at once, with everything that waits to be written or handled."""
        self.cause, self.reason = self.cause or cause, self.reason or reason
        self._state = max(self._state, ConnectionState.CLOSING)
        self.packets.drop()
        self._transport.abort()
        self.reader.stop(self)
        self.writer.stop()

    def give_up(self, cause: CloseReason) -> None:
        """End the connection because too much waits for the client."""
        if cause is CloseReason.MEMORY_CAP:
            self.abort(cause, "outbound memory")  # no close frame could overtake what waits
        else:
            self.packets.drop()
            self.close(CloseCode.TRY_AGAIN_LATER, cause, "slow reader")

    def eof_received(self) -> bool:
        """Tell that the client has ended its side. The result keeps the transport from closing itself, which takes the
        kernel's time: thousands of clients that leave in the same turn are closed over several turns."""
        self.events.leaving(self)
        return True

    def hang_up(self) -> None:
        """Close the transport. Frames that have been written to it still go out."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the transport is gone. After an orderly end the packets that came before are still handled."""
        self._state = ConnectionState.CLOSED
        if exc is not None:
            self.packets.drop()
        if self.cause is None:
            self.cause, self.reason = why(LOST if exc is None else BROKEN, self.session, self.verdict)
        self.reader.stop(self)
        self.writer.stop()
        self.events.lost(self)
        self.end_if_done()

    def end_if_done(self) -> None:
        """End the connection, if the transport is gone and every packet has been handled and answered."""
        if self._state is ConnectionState.CLOSED and not self.packets.busy:
            self.events.ended(self)
