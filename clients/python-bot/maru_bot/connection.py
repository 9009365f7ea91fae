"""One connection, from its WebSocket to its end: the only module that touches python-socketio.

It avoids these traps of the library:

- A refused CONNECT or a server's DISCONNECT is not retried: so reconnection is off, and every attempt is a new client.
- A packet emitted while the client is offline is lost without an error.
- A pending ack outlives its connection.
- Every packet is handled in a task of its own: packets stay in order only if handlers never await.
- Bytes in a payload turn the packet into a binary packet.
- The library's log prints tokens.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import socketio
from socketio.exceptions import SocketIOError
from socketio.packet import Packet

from maru_bot.errors import MaruError, Terminated, transient
from maru_bot.events import Json
from maru_bot.payload import StrictJson, check

NAMESPACE = "/chat"

REPLY_BYTES = 64 * 1024 * 1024
"""A frame of the server: a resume of 1,000 events of the largest size has about 25 MB; aiohttp's default is 4 MiB."""

CLOSE_S = 1.0
"""For the server's half of the closing handshake."""

JOINS_AT_ONCE = 16
"""Joins that are unanswered, or wait because they came too fast. With hundreds of channels, each of which is refused
again and again, the server would take the bot to be broken."""

_T = TypeVar("_T")

_log = logging.getLogger("maru_bot.socketio")
# Below WARNING the library prints packets, and the first one carries the token.
_log.addFilter(lambda record: record.levelno >= logging.WARNING)
_log.setLevel(logging.ERROR)


class _TextPacket(Packet):
    """A packet that is never binary: the protocol has no binary packets."""

    uses_binary_events = False
    json = StrictJson


class Connection:
    """Use as an async context manager: leaving it closes the WebSocket.

    `heard(name, body)` is called for the server's events, in the order in which they came; `gone()` once, at the
    connection's end. Neither may block.
    """

    def __init__(self, heard: Callable[[str, Json], None], gone: Callable[[], None], *, ack_timeout: float) -> None:
        self._heard = heard
        self._gone = gone
        self._ack_timeout = ack_timeout
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[MaruError] = loop.create_future()  # the reason of the end
        self._ready: asyncio.Future[Json] = loop.create_future()  # session:ready
        self._terminated: MaruError | None = None  # session:terminated, which comes before the end
        self._http = aiohttp.ClientSession()
        self._client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            logger=_log,
            engineio_logger=_log,
            serializer=_TextPacket,
            http_session=self._http,
            request_timeout=CLOSE_S,
            websocket_extra_options={"max_msg_size": REPLY_BYTES},
        )
        self._client.on("*", self._event, namespace=NAMESPACE)
        self._client.on("connect_error", self._refused, namespace=NAMESPACE)
        self._client.on("disconnect", self._disconnected, namespace=NAMESPACE)
        self._transport: list[asyncio.Task[None]] = []  # waits for the WebSocket's end
        self.joins = asyncio.Semaphore(JOINS_AT_ONCE)
        self._unanswered = 0  # commands
        self.lost = False  # the WebSocket has ended, and neither side has said why
        self._retired = False  # another connection has taken its place
        self._settled = asyncio.Event()  # a command has its answer, or will get none

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(transient("offline", "the connection was closed"))
        async with self._http:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * CLOSE_S):
                    await self._client.disconnect()
                    await asyncio.gather(*self._transport, return_exceptions=True)
            for task in self._transport:
                task.cancel()

    async def open(self, url: str, auth: Callable[[], Mapping[str, Any]], timeout: float) -> Json:
        """Connect and return `session:ready`. `auth` gives the payload of CONNECT when that is sent.

        Raises `MaruError`: the server's refusal, or `offline`, or `timeout` after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._client.connect(url, auth=auth, transports=["websocket"], namespaces=[NAMESPACE], wait=False)
                transport = asyncio.create_task(self._client.eio.wait())
                transport.add_done_callback(self._closed)
                self._transport.append(transport)
                await asyncio.wait((self._ready, self._over), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise transient("timeout", f"no session:ready within {timeout} s") from None
        except aiohttp.InvalidURL:
            raise
        except (SocketIOError, aiohttp.ClientError, OSError, TypeError, ValueError, LookupError) as cause:
            # The library raises the last three if the server does not speak Engine.IO.
            raise transient("offline", f"{url} can not be reached, or is no Maru server") from cause
        if self.over:
            raise self._over.result()
        return self._ready.result()

    @property
    def over(self) -> bool:
        """Whether it has ended: no event and no answer comes any more."""
        return self._over.done()

    @property
    def done(self) -> bool:
        """Whether it must not be used for new commands: it is over, or retired."""
        return self._retired or self.over

    def retire(self) -> None:
        """Ignore further events and refuse new commands: another connection has taken its place."""
        self._retired = True

    async def finish(self, within: float) -> None:
        """End after the last answer, or after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._unanswered and not self.over:
                    self._settled.clear()
                    await self._settled.wait()
        self._end(transient("offline", "another connection has taken its place"))

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the connection's end."""
        await asyncio.wait((self._over,), timeout=seconds)

    async def ended(self) -> MaruError:
        """Wait for the connection's end, and return the reason."""
        return await asyncio.shield(self._over)

    async def command(self, name: str, payload: Json, answered: Callable[[Json], _T]) -> _T:
        """Send one command, and return the result of `answered(ack)`, which is called before any later event is heard.

        Raises the `MaruError` of the answer; `offline` as soon as the connection ends; `timeout` if no answer comes
        (then the command may or may not have been executed); `bad_request` or `payload_too_large` for a payload that
        would cost the connection.
        """
        body = dict(payload)
        check(name, body)
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

        def ack(*args: Any) -> None:
            if not answer.done() and not self.over:
                self._protocol_guard(lambda: _settle(answer, args[0], answered))

        self._unanswered += 1
        try:
            async with asyncio.timeout(self._ack_timeout):
                if not self.done:
                    await self._client.emit(name, body, namespace=NAMESPACE, callback=ack)
                    await asyncio.wait((answer, self._over), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise transient("offline", f"the connection was lost before {name} was answered")
        except TimeoutError:
            raise transient("timeout", f"no answer to {name} within {self._ack_timeout} s") from None
        except SocketIOError as cause:
            raise transient("offline", f"not connected, {name} was not sent") from cause
        finally:
            answer.cancel()
            self._unanswered -= 1
            self._settled.set()

    def _closed(self, transport: asyncio.Task[None]) -> None:
        """End: the WebSocket is closed, for whatever reason."""
        self.lost = self._terminated is None and not self.over
        error = self._terminated or transient("offline", "the connection was lost")
        if not transport.cancelled():
            error.__cause__ = transport.exception()
        self._end(error)

    def _event(self, name: str, body: Any = None, *_: Any) -> None:
        if self.done:
            return
        if name == "session:terminated":
            error = MaruError.from_wire(body)
            self._terminated = error if error.code == "token_expired" else Terminated.from_wire(body)
        self._protocol_guard(lambda: self._heard(name, body))
        if name == "session:ready" and not self._ready.done():
            self._ready.set_result(body)

    def _refused(self, body: Any = None, *_: Any) -> None:
        reason = body.get("data") if isinstance(body, dict) else None
        if isinstance(reason, dict) and "code" in reason:
            self._end(MaruError.from_wire(reason))

    def _disconnected(self, reason: str = "", *_: Any) -> None:
        if reason == self._client.reason.SERVER_DISCONNECT:
            self._end(self._terminated or MaruError("terminated", "ended by the server"))

    def _protocol_guard(self, react: Callable[[], None]) -> None:
        """Handle a packet. If it breaks the protocol, the connection ends for good, as events would be lost."""
        try:
            react()
        except (LookupError, TypeError, ValueError, AttributeError) as cause:
            error = MaruError("bad_answer", f"the server broke the protocol ({type(cause).__name__}: {cause})")
            error.__cause__ = cause
            self._end(error)

    def _end(self, error: MaruError) -> None:
        if not self.over:
            self._over.set_result(error)
            self._gone()


def _settle(answer: asyncio.Future[_T], ack: Json, answered: Callable[[Json], _T]) -> None:
    if ack["ok"] is True:
        answer.set_result(answered(ack))
    else:
        answer.set_exception(MaruError.from_wire(ack["error"]))
