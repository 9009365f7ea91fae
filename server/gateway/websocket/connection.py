"""One client's WebSocket: a slotted protocol that owns the transport after the handshake.

Idle, it is this object, a frame reader and nothing else: no task, no timer, no queue. A client's packets are handled
one after another in a mailbox that exists only while it has work. What is written in one turn of the loop goes to the
transport in one piece (`outbox`), bounded.

One of the files that touch the internals of aiohttp (its compiled frame reader) and engineio.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketError, WebSocketReader, WSMsgType

from server.application.sessions.sessions import Session
from server.application.turn import Turn
from server.domain.limits import MAX_PAYLOAD
from server.domain.outcomes import CloseReason
from server.gateway.websocket.frames import (
    TOO_MANY_SMALL,
    CloseCode,
    HeaderCheck,
    HostilePacket,
    Opcode,
    close_frame,
    frame,
)
from server.gateway.websocket.mailbox import MAILBOX_HIGH, MAILBOX_LOW, Mailbox
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.writer import State, WritingHalf

PING = frame(b"2")

CLOSE_WAIT_S = 2.0
"""How long the peer has to answer a close frame, or to read what stands before it, until the transport is aborted."""

LAST_READ_BYTES = 1 << 18
"""Bytes read after the server's close frame, in search of the peer's; then the server reads no more."""

LARGE_READ_BYTES = 1 << 16
"""A read of such a size ends the client's turn: libuv reads one socket up to 32 times before it looks at another."""

ABNORMAL_CLOSURE = 1006
"""A close code for programs' own use, never sent (RFC 6455, section 7.4.1); aiohttp's reader lets this one pass."""


class Host(Protocol):
    """What a connection needs of the engine."""

    async def received(self, connection: "Connection", packet: str) -> None:
        """Handle one Socket.IO packet. Raises `HostilePacket`."""

    def leaving(self, connection: "Connection") -> None:
        """Have the connection `hang_up` soon."""

    def ended(self, connection: "Connection") -> None:
        """Forget the connection: its transport is gone and its last packet handled. Raises nothing."""

    def lost(self, connection: "Connection") -> None:
        """Stop counting on the connection: its transport is gone, and `cause` says why."""

    def failed(self, connection: "Connection", error: Exception) -> None:
        """Report a fault of the server while handling a packet."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that handles its own errors."""


class Inbox(WebSocketDataQueue):
    """Where the reader puts whole messages. Reading is synchronous, so one inbox serves every connection of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, 1 << 30, loop=loop)  # type: ignore[arg-type]  # it never pauses a protocol
        self._messages: list[Any] = []
        self._error: BaseException | None = None

    def feed_data(self, data: Any, size: int) -> None:
        """Take a message from the reader."""
        self._messages.append(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Take the reader's verdict on a malformed frame."""
        self._error = exc

    def take(self) -> tuple[list[Any], BaseException | None]:
        """Return what the last read brought, and empty the inbox."""
        taken = self._messages, self._error
        self._messages, self._error = [], None
        return taken


class Connection(WritingHalf):
    """A WebSocket. `session` is its client's, from CONNECT on; `cause` is why it ends."""

    __slots__ = (
        "_goes_on",
        "_headers",
        "_heard_at",
        "_held",
        "_host",
        "_inbox",
        "_last_bytes",
        "_mailbox",
        "_paused",
        "_reader",
        "_rest",
        "_unsent",
        "cause",
        "close_code",
        "opened_at",
        "reason",
        "remote",
        "session",
        "sid",
        "slot",
    )

    reason: str | None

    upgraded = connected = True  # engineio's words: the transport is, and stays, a WebSocket

    def __init__(
        self,
        host: Host,
        sid: str,
        transport: asyncio.Transport,
        inbox: Inbox,
        outbox: Outbox,
        remote: str | None,
    ) -> None:
        super().__init__(transport, outbox)
        self._host = host
        self._inbox = inbox
        # One byte more than allowed: the reader refuses a message that reaches its limit.
        self._reader = WebSocketReader(inbox, MAX_PAYLOAD + 1, compress=False, decode_text=True)
        self._headers = HeaderCheck()
        self._mailbox: Mailbox | None = None
        self._paused = False  # reading stands still, for a turn or until the mailbox is nearly empty
        self._goes_on = False  # `_go_on` is scheduled
        self._held = False  # no further packet is to be taken
        self._rest = b""  # the part of the last read that waits for its turn
        self._last_bytes = LAST_READ_BYTES
        self._unsent = 0
        self.sid = sid
        self.slot = 0
        self.remote = remote
        self.reason = None
        self.session: Session | None = None
        self.cause: CloseReason | None = None
        self.close_code: int | None = None
        self.opened_at = self._heard_at = time.monotonic()

    @property
    def last_heard(self) -> float:
        """The monotonic time of the last read; now, while reading pauses: whatever the client says waits unread, also
        its pongs. One that is dead is found after the pause, or by TCP_USER_TIMEOUT."""
        return time.monotonic() if self._paused else self._heard_at

    @property
    def busy(self) -> bool:
        """Whether something that has been read is still to be handled."""
        return self._mailbox is not None

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse one read and hand on the messages that it completes: a bounded number in each turn of the loop."""
        self._heard_at = time.monotonic()
        self._outbox.traffic.received_bytes += len(data)
        if self._state is not State.OPEN and self._is_past_hearing(len(data)):
            return
        self._headers.small = 0
        self._read(data)
        if len(data) >= LARGE_READ_BYTES:
            self._hold()
            self._go_on_soon()

    def _is_past_hearing(self, size: int) -> bool:
        """Count a read that came after the server's close frame; after too many bytes, read no more."""
        self._last_bytes -= size
        if self._last_bytes < 0:
            self._state = max(self._state, State.DEAF)
            self._hold()
        return self._state >= State.DEAF

    def _read(self, data: bytes) -> None:
        """Handle the first frames; the others wait for the next turn, and reading with them."""
        if (fault := self._headers.fault(data)) is not None:
            flood = fault == TOO_MANY_SMALL
            self._break_off(CloseCode.POLICY_VIOLATION if flood else CloseCode.PROTOCOL_ERROR, fault)
            return
        taken = self._headers.taken
        if taken < len(data):
            if not self._headers.finished:
                self._rest = data[taken:]
                self._hold()
                self._go_on_soon()
            data = data[:taken]
        self._reader.feed_data(data)
        messages, error = self._inbox.take()
        for message in messages:
            self._take(message)
        if error is not None:
            code = error.code if isinstance(error, WebSocketError) else CloseCode.PROTOCOL_ERROR
            self._break_off(code, f"malformed frame: {type(error).__name__} {int(code)}")

    def _hold(self) -> None:
        """Stop reading until `_go_on` finds that it may go on."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _go_on_soon(self) -> None:
        if not self._goes_on:
            self._goes_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Handle the next part of the last read, or read on if there is none. `_work` asks again if it is too early."""
        self._goes_on = False
        if self._state >= State.DEAF:
            self._rest = b""
        if not self._paused or self._state is State.CLOSED or self._last_bytes < 0:
            return
        waiting = 0 if self._mailbox is None else len(self._mailbox)
        if self._state is State.OPEN and (self._held or waiting > MAILBOX_LOW):
            return
        if self._rest:
            rest, self._rest = self._rest, b""
            self._read(rest)
            self._go_on_soon()
        else:
            self._paused = False
            self._heard_at = time.monotonic()
            self._transport.resume_reading()

    def _take(self, message: Any) -> None:
        if message.type is WSMsgType.CLOSE:
            self._answer_close(message.data)
        elif self._state is not State.OPEN:
            return
        elif message.type is WSMsgType.TEXT:
            self._take_text(message.data)
        elif message.type is WSMsgType.PING:
            self.write(frame(bytes(message.data), Opcode.PONG))
        elif message.type is WSMsgType.BINARY:
            self.close(CloseCode.UNSUPPORTED_DATA, CloseReason.MALFORMED, "binary message")

    def _take_text(self, text: str) -> None:
        """Judge one Engine.IO packet (protocol revision 4)."""
        kind = text[:1]
        if kind == "4":
            self._post(text[1:])
        elif kind == "1":
            self.close(CloseCode.NORMAL, CloseReason.CLIENT_LEFT, "client left")
        elif kind == "b":
            self.close(CloseCode.UNSUPPORTED_DATA, CloseReason.MALFORMED, "binary packet")
        elif text != "3":  # a pong: that it came is all that it says
            self.close(CloseCode.POLICY_VIOLATION, CloseReason.MALFORMED, "malformed packet: Engine.IO type")

    # The mailbox

    def _post(self, packet: str) -> None:
        if self._mailbox is None:
            self._mailbox = Mailbox(packet)
            self._host.spawn(self._work(self._mailbox))
            return
        self._mailbox.post(packet)
        if len(self._mailbox) >= MAILBOX_HIGH:
            self._hold()

    async def _work(self, mailbox: Mailbox) -> None:
        """Handle packets, in order, until there are none; then end the connection if it is lost meanwhile."""
        turn = Turn()
        while mailbox:
            if turn.over():
                await turn.pass_on()  # a command that waits for nothing gives nobody else a turn
            if self.congested:
                await self.flushed()  # answers would only pile up if the client does not read
            if not mailbox:
                break  # the packets were dropped meanwhile
            packet = mailbox.take()
            if self._paused and len(mailbox) <= MAILBOX_LOW:
                self._go_on_soon()
            await self._handle(packet)
        self._mailbox = None
        if self.closed:
            self._host.ended(self)

    async def _handle(self, packet: str) -> None:
        """Handle one packet; close the connection and drop its other packets if that fails."""
        try:
            await self._host.received(self, packet)
            self.flush_large()
        except HostilePacket as error:
            self.drop_mailbox()
            self.close(error.code, CloseReason.MALFORMED, error.problem)
        except Exception as error:  # noqa: BLE001  # whatever it is, this client goes and the others stay
            self.drop_mailbox()
            self._host.failed(self, error)
            self.close(CloseCode.INTERNAL_ERROR, CloseReason.INTERNAL_ERROR, "internal error")

    def doom_waiting(self) -> None:
        """What waits now is not to be done: something before it could not be, and its sender will send both again."""
        if self._mailbox is not None:
            self._mailbox.doom()

    def take_doom(self) -> bool:
        """Whether the packet that is being handled was waiting when those were doomed. To be asked once a packet."""
        return self._mailbox is not None and self._mailbox.take_doom()

    def stop_reading(self) -> None:
        """Take no further packets; those in the mailbox are still handled."""
        self._held = True
        if self._state is State.OPEN:
            self._hold()

    # Heartbeat

    def ping(self) -> None:
        """Write a ping."""
        self.write(PING)

    def shows_life(self, since: float) -> bool:
        """Whether anything has been read since then, or the client has taken some of what waits for it: a ping behind a
        long replay reaches a slow client late."""
        before, self._unsent = self._unsent, self.unsent
        return self.last_heard >= since or self._unsent < before

    async def send(self, packet: Any) -> None:
        """Write an Engine.IO packet; engineio's seam. It never waits."""
        self.write(frame(packet.encode().encode()))

    # Ending

    def close(self, code: CloseCode, cause: CloseReason, reason: str) -> None:
        """Write a close frame and wait at most `CLOSE_WAIT_S` for the peer's, then abort. The first call counts."""
        if self.is_open():
            self._flush_now()
        if not self.is_open():
            return
        self._state = State.CLOSING
        self.close_code, self.cause, self.reason = int(code), cause, reason
        if self._transport.is_closing():
            return
        self._transport.write(close_frame(code, reason))
        if self._paused:
            # Else the peer's close frame would wait in the kernel; the packets before it are dropped unread.
            self._go_on_soon()
        asyncio.get_running_loop().call_later(CLOSE_WAIT_S, self._transport.abort)

    def abort(self, cause: CloseReason, reason: str) -> None:
        """Drop the connection at once, with what waits to be written and what waits to be handled."""
        self.cause, self.reason = self.cause or cause, self.reason or reason
        self._state = max(self._state, State.DEAF)
        self.drop_mailbox()
        self._transport.abort()
        self._forget()

    def drop_mailbox(self) -> None:
        """Handle no further packets: the client is not there to hear the answers, and did not say goodbye."""
        if self._mailbox is not None:
            self._mailbox.clear()

    def _break_off(self, code: int, reason: str) -> None:
        """Close a connection whose frames can't be read any further.

        The peer's close frame can't be waited for, so TCP's sending half is closed: the peer sees the end at once.
        """
        too_big = code == CloseCode.MESSAGE_TOO_BIG
        self.close(CloseCode(code), CloseReason.TOO_BIG if too_big else CloseReason.MALFORMED, reason)
        if self._state is State.CLOSING:
            self._state = State.DEAF
            if not self._transport.is_closing():
                with contextlib.suppress(OSError):  # the peer has reset the connection, which nobody reads
                    self._transport.write_eof()

    def _answer_close(self, code: int) -> None:
        if code == ABNORMAL_CLOSURE:
            self._break_off(CloseCode.PROTOCOL_ERROR, "close code 1006")
            return
        if self.is_open():
            self._flush_now()
        if self.is_open():
            self._state = State.CLOSING
            self.close_code, self.cause = int(code or CloseCode.NORMAL), CloseReason.CLIENT_LEFT
            self.reason = "client closed"
            self._transport.write(close_frame(CloseCode.NORMAL))
            asyncio.get_running_loop().call_later(CLOSE_WAIT_S, self._transport.abort)
        self._host.leaving(self)

    def eof_received(self) -> bool:
        """The client says no more. The transport would close at once, which takes the kernel's time: of thousands that
        are gone in one turn of the loop, each waits for its turn to be closed. True: leave that to us."""
        self._host.leaving(self)
        return True

    def hang_up(self) -> None:
        """Close the transport; what is written to it still goes out."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the transport is gone; what came before an orderly end is still handled before the connection's."""
        self._state = State.CLOSED
        self._rest = b""
        if exc is not None:
            self.drop_mailbox()
        self.cause = self.cause or CloseReason.TRANSPORT_LOST
        self.reason = self.reason or ("transport error" if exc else "transport closed")
        self._forget()
        self._host.lost(self)
        if self._mailbox is None:
            self._host.ended(self)
