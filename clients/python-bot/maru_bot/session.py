"""Staying connected: one connection after another, each resuming where the last one ended."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from maru_bot.channel import Channel
from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import LOG_EVENTS, Json
from maru_bot.tokens import TOKEN_REFUSED, GetToken, TokenSource

TRANSIENT = frozenset({"rate_limited", "unavailable", "overloaded"})
"""Where `channel:removed` brings a bare code: those that time can heal."""

RESUME_CHANNELS = 500
RESUME_CHARS = 32_768
"""What goes into CONNECT, beside the token: half a frame. Channels beyond it are joined one by one afterwards."""

RESUME_ENTRY_CHARS = 64
"""What an entry has beside the names: brackets, quotes, and an offset of up to 16 digits."""

STEADY_S = 5.0
"""A connection this old has proved itself: the backoff starts anew."""

HEIR_RETRY_S = 0.25
"""Before the next connection is tried again, doubling, while the present one is drained: it does not last long."""

RETIRE_S = 5.0
"""For the answers that a connection owes when it has an heir; the server answers within 2 s."""

REFRESH_TRIES = 8
"""At one per backoff they fill the 60 s between `session:expiring` and the end."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for the server to answer a command, for a connection, between tries."""

    ack: float = 10.0
    connect: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(eq=False, slots=True)
class _Tenure:
    """A connection, the work that ends with it, the channels that it has resumed beside its predecessor, and the time
    at which its server wants its successor to be opened, where that stops."""

    tasks: asyncio.TaskGroup
    link: Connection = field(init=False)
    resumed: set[str] = field(default_factory=set)
    move_at: float | None = None


class Session:
    """Connects, and connects again, until `aclose` or until something that time can't heal.

    It reconnects by itself, not by python-socketio, which would not come back after a refused CONNECT or the server's
    DISCONNECT, and takes no new token on the way.

    When the server says that it stops, the next connection (the heir) is opened beside the present one, which goes on
    until the heir has resumed. Both bring each channel's events in order and without a hole, so dropping what is not
    newer than the position is all the merging there is.
    """

    def __init__(self, url: str, token: GetToken | str, patience: Patience) -> None:
        self.ready: Json | None = None
        self.last_error: MaruError | None = None
        self.channels: dict[str, Channel] = {}
        self._url = url
        self._tokens = TokenSource(token, patience.connect)
        self._patience = patience
        self._link: Connection | None = None
        self._news = asyncio.Event()  # set while there is a link, or will be none
        self._fault: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._ready_at = 0.0
        self._tenure: _Tenure | None = None
        self._heirs: deque[asyncio.Task[MaruError]] = deque()

    def start(self) -> None:
        """Begin; `connected` tells the rest."""
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._stopped)

    async def aclose(self) -> None:
        """Say goodbye, and end every channel. Raises a fault of the session itself."""
        if self._running is None:
            return
        self._running.cancel()
        await asyncio.wait((self._running,))
        fault = None if self._running.cancelled() else self._running.exception()
        if fault is not None and not isinstance(fault, MaruError):
            raise fault

    async def connected(self) -> Connection:
        """The connection, once there is one. Raises why there will be none."""
        while self._link is None:
            if self._fault is not None:
                raise self._fault
            if self._running is None:
                raise RuntimeError("enter the bot first: async with MaruBot(...) as bot")
            await self._news.wait()
        return self._link

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the session's end."""
        assert self._running is not None
        await asyncio.wait((self._running,), timeout=seconds)

    def join(self, channel: Channel) -> None:
        """Join the channel, now or at the next connection, and stay in it."""
        self.channels[channel.name] = channel
        if self._fault is not None:
            channel.close(self._fault, fatal=True)
        elif self._tenure is not None and self._link is not None:
            self._tenure.tasks.create_task(channel.keep(self._link))

    async def leave(self, channel: Channel) -> None:
        """Leave the channel; where that is not possible, the next connection does not name it."""
        channel.close(None, fatal=False)
        if self.channels.get(channel.name) is channel:
            del self.channels[channel.name]
            if self._link is not None:
                await _say_leave(self._link, channel.name)

    async def _run(self) -> None:
        attempt = asyncio.create_task(self._attempt())
        failures = 0
        try:
            while True:
                error = self.last_error = await attempt
                if self._heirs and error.retryable:
                    attempt = self._heirs.popleft()
                    continue
                await self._disinherit()
                again = self._tokens.refused(error.code) if error.code in TOKEN_REFUSED else error.retryable
                if not again:
                    raise error
                failures = 0 if self._ready_at and time.monotonic() - self._ready_at >= STEADY_S else failures + 1
                self._ready_at = 0.0
                await asyncio.sleep(error.retry_after or self._patience.backoff(max(0, failures - 1)))
                attempt = asyncio.create_task(self._attempt())
        finally:
            attempt.cancel()
            await asyncio.wait((attempt,))
            await self._disinherit()

    async def _disinherit(self) -> None:
        while self._heirs:
            heir = self._heirs.popleft()
            heir.cancel()
            await asyncio.wait((heir,))

    async def _attempt(self) -> MaruError:
        """One connection, from token to end. Return why it is over."""
        reasons: list[Exception] = []
        try:
            token = await self._tokens.take()
            async with asyncio.TaskGroup() as tasks:
                tenure = _Tenure(tasks)
                heard, lost = partial(self._heard, tenure), partial(self._lost, tenure)
                async with Connection(heard, lost, ack_timeout=self._patience.ack) as tenure.link:
                    auth = partial(self._auth, token)
                    session = await tenure.link.open(self._url, auth, self._patience.connect)
                    self._begin(tenure, token, session)
                    raise await tenure.link.ended()
        except* MaruError as ended:
            reasons.extend(ended.exceptions)
        (reason,) = reasons
        assert isinstance(reason, MaruError)
        return reason

    async def _succeed(self, link: Connection, delay: float) -> MaruError:
        """The attempt that follows a drained connection: after `delay` seconds, and again soon while `link` lasts."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    return await link.ended()
            error = await self._attempt()
            if link.done:
                return error
            if error.code in TOKEN_REFUSED:
                self._tokens.refused(error.code)
            delay = HEIR_RETRY_S * 2 ** min(failures, 4) * (0.5 + self._patience.backoff.spread())
            failures += 1

    def _begin(self, tenure: _Tenure, token: str, session: Json) -> None:
        """There is a session: sends and readers may go on; over the predecessor, nothing new is said any more."""
        self._tokens.accepted(token, session["expires_at"])
        self.ready = session
        self._ready_at = time.monotonic()
        old, self._tenure = self._tenure, tenure
        beside = old is not None and not old.link.done
        if old is not None and beside:
            old.link.retire()
            old.tasks.create_task(old.link.finish(RETIRE_S))
        self.channels = {name: channel for name, channel in self.channels.items() if not channel.closed}
        for channel in self.channels.values():
            if beside and channel.name not in tenure.resumed:
                channel.lost()  # only the predecessor brought it
            tenure.tasks.create_task(channel.keep(tenure.link))
        for name in tenure.resumed - self.channels.keys():
            tenure.tasks.create_task(_say_leave(tenure.link, name))
        if not tenure.link.over:
            self._link = tenure.link
            self._news.set()
            if tenure.move_at is not None:  # it was told so before it had its session
                self._move(tenure, tenure.move_at)

    def _move(self, tenure: _Tenure, at: float) -> None:
        """Open the next connection at the given time."""
        delay = max(0.0, at - time.monotonic())
        self._heirs.append(asyncio.create_task(self._succeed(tenure.link, delay)))

    def _lost(self, tenure: _Tenure) -> None:
        """The connection is over; at once, so that nothing is tried on it any more. One of two is not missed."""
        if self._link is not None and self._link is not tenure.link:
            return
        self._link = None
        self._news.clear()
        for channel in self.channels.values():
            channel.lost()

    def _stopped(self, running: asyncio.Task[None]) -> None:
        """There will be no other connection."""
        fault = MaruError("closed", "the bot has been closed") if running.cancelled() else running.exception()
        assert isinstance(fault, Exception)
        self._fault = fault
        self._news.set()
        for channel in self.channels.values():
            channel.close(fault, fatal=not running.cancelled())

    def _auth(self, token: str) -> Json:
        return {"token": token, "resume": self._resume()}

    def _resume(self) -> dict[str, Json]:
        """The channels' positions, as many as CONNECT takes."""
        resume: dict[str, Json] = {}
        chars = 0
        for name, channel in self.channels.items():
            place = channel.resumable
            if place is None or channel.closed:
                continue
            chars += len(name) + len(place.epoch) + RESUME_ENTRY_CHARS
            if chars > RESUME_CHARS or len(resume) == RESUME_CHANNELS:
                break
            resume[name] = {"epoch": place.epoch, "offset": place.offset}
        return resume

    # What the server says

    def _heard(self, tenure: _Tenure, link: Connection, name: str, body: Json) -> None:
        """Handle an event; must not await, or a later one would overtake it."""
        if name in LOG_EVENTS:
            channel = self.channels.get(body["channel"])
            if channel is not None and not channel.receive(name, body):
                tenure.resumed.discard(channel.name)
            return
        match name:
            case "channel:resumed":
                self._resumed(tenure, link, body)
            case "channel:removed":
                self._removed(link, body["channel"], body["code"])
            case "session:expiring":
                tenure.tasks.create_task(self._refresh(link))
            case "session:draining" if tenure.move_at is None:
                tenure.move_at = time.monotonic() + body["reconnect_in_ms"] / 1000
                if link is self._link:
                    self._move(tenure, tenure.move_at)
            case _:
                pass  # session:ready is `Connection.open`'s result; the rest is of no use to a bot

    def _is_heir(self, link: Connection) -> bool:
        """Whether another connection is in use while this one is made."""
        return self._link is not None and self._link is not link

    def _resumed(self, tenure: _Tenure, link: Connection, body: Json) -> None:
        channel = self.channels.get(body["channel"])
        if channel is None:  # left while the CONNECT was on its way
            tenure.tasks.create_task(_say_leave(link, body["channel"]))
        elif not self._is_heir(link):
            channel.adopt(body)
        elif channel.catch_up(body):
            tenure.resumed.add(channel.name)

    def _removed(self, link: Connection, name: str, code: str) -> None:
        channel = self.channels.get(name)
        if channel is None or (code in TRANSIENT and self._is_heir(link)):
            return  # an heir joins what it has not resumed
        channel.removed(MaruError(code, f"no longer in {name}", retryable=code in TRANSIENT))

    async def _refresh(self, link: Connection) -> None:
        """Renew the session's token. Out of tries, the server ends the session, and the next one has a new token."""
        for failures in range(REFRESH_TRIES):
            # Also before the first try: a fleet does not ask for its tokens all at once, nor a bot without end for
            # tokens that live no longer than the notice.
            await asyncio.sleep(self._patience.backoff(failures))
            with contextlib.suppress(MaruError):
                token = await self._tokens.fetch()
                expires_at = await link.command("auth:refresh", {"token": token}, lambda ack: str(ack["expires_at"]))
                self._tokens.accepted(token, expires_at)
                return


async def _say_leave(link: Connection, name: str) -> None:
    with contextlib.suppress(MaruError):
        await link.command("channel:leave", {"channel": name}, lambda _: None)
