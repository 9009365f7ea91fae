"""Staying connected: one connection after another, each resuming at the positions that the last one has reached."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from maru_bot.attempt import Attempt
from maru_bot.channel import Channel
from maru_bot.channels import Channels
from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError, Terminated
from maru_bot.events import Json
from maru_bot.tokens import TOKEN_REFUSED, GetToken, TokenSource

STEADY_S = 5.0
"""A connection that lasted this long ends the row of failures."""

REPLACEMENT_RETRY_S = 0.25
"""Before a failed replacement is opened again; it doubles. The connection that is drained does not last long."""

RETIRE_S = 5.0
"""For the answers that a replaced connection owes; the server answers within 2 s."""

REFRESH_TRIES = 8
"""With a backoff before each they fill the 60 s between `session:expiring` and the end."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for the answer to a command, for a connection, between two tries."""

    ack: float = 10.0
    connect: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


class Session:
    """Connects, and connects again, until `aclose` or until an error that time can't heal.

    It reconnects by itself, since python-socketio would not do so after a refused CONNECT or the server's DISCONNECT,
    and would not take a new token.

    When the server says that it stops, the next connection (the replacement) is opened beside the current one. The
    current one is used until the replacement has resumed. Both bring each channel's events in order and without a hole,
    so the merge is one rule: drop each event that is not newer than the position.
    """

    def __init__(self, url: str, token: GetToken | str, patience: Patience) -> None:
        self.ready: Json | None = None  # the last session:ready
        self.last_error: MaruError | None = None  # of the last attempt that ended
        self.channels = Channels(patience.backoff)
        self._url = url
        self._tokens = TokenSource(token, patience.connect)
        self._patience = patience
        self._connection: Connection | None = None  # in use; None while there is none
        self._attempt: Attempt | None = None  # the last one that became a session
        self._changed = asyncio.Event()  # set while there is a connection, or will be none
        self._fault: Exception | None = None  # why there will be no other connection
        self._running: asyncio.Task[None] | None = None
        self._ready_at = 0.0  # when the connection in use became ready, on the monotonic clock; 0: there is none
        self._replacements: deque[asyncio.Task[MaruError]] = deque()  # opened or scheduled, the oldest first

    def start(self) -> None:
        """Begin; `connected` waits for the first connection."""
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._stopped)

    async def aclose(self) -> None:
        """Close the connection, and end every channel. Raises a fault of the session itself."""
        if self._running is None:
            return
        self.channels.close(MaruError("closed", "the bot has been closed"), fatal=False, now=True)
        self._running.cancel()
        await asyncio.wait((self._running,))
        fault = None if self._running.cancelled() else self._running.exception()
        if fault is not None and not isinstance(fault, MaruError):
            raise fault

    async def connected(self) -> Connection:
        """Return the connection, once there is one. Raises the reason if there will be none."""
        while self._connection is None:
            if self._fault is not None:
                raise self._fault
            if self._running is None:
                raise RuntimeError("enter the bot first: async with MaruBot(...) as bot")
            await self._changed.wait()
        return self._connection

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the session's end."""
        assert self._running is not None
        await asyncio.wait((self._running,), timeout=seconds)

    def join(self, channel: Channel) -> None:
        """Join the channel, now or at the next connection, and stay in it."""
        self.channels.add(channel)
        if self._fault is not None:
            channel.close(self._fault, fatal=True)
        elif self._attempt is not None and self._connection is not None:
            self._attempt.tasks.create_task(channel.keep(self._connection))

    async def leave(self, channel: Channel) -> None:
        """Leave the channel, and wait until that is done. The next connection does not name the channel."""
        channel.close(None, fatal=False, now=True)
        if self.channels.remove(channel) and self._attempt is not None and self._connection is not None:
            await asyncio.wait((self.channels.leave(self._attempt, channel.name),))

    async def _run(self) -> None:
        attempt = asyncio.create_task(self._connect())
        failures = 0
        try:
            while True:
                error = self.last_error = await attempt
                if self._replacements and error.retryable:
                    attempt = self._replacements.popleft()
                    continue
                await self._cancel_replacements()
                renewable = error.code in TOKEN_REFUSED and not isinstance(error, Terminated)
                again = self._tokens.refused(error.code) if renewable else error.retryable
                if not again:
                    raise error
                failures = 0 if self._ready_at and time.monotonic() - self._ready_at >= STEADY_S else failures + 1
                self._ready_at = 0.0
                await asyncio.sleep(error.retry_after or self._patience.backoff(max(0, failures - 1)))
                attempt = asyncio.create_task(self._connect())
        finally:
            attempt.cancel()
            await asyncio.wait((attempt,))
            await self._cancel_replacements()

    async def _cancel_replacements(self) -> None:
        while self._replacements:
            replacement = self._replacements.popleft()
            replacement.cancel()
            await asyncio.wait((replacement,))

    async def _connect(self) -> MaruError:
        """Make one attempt, from the token to the connection's end. Return the reason of the end."""
        reasons: list[Exception] = []
        try:
            token = await self._tokens.take()
            async with asyncio.TaskGroup() as tasks:
                attempt = Attempt(tasks)
                heard, lost = partial(self._heard, attempt), partial(self._lost, attempt)
                async with Connection(heard, lost, ack_timeout=self._patience.ack) as attempt.connection:
                    auth = partial(self._auth, attempt, token)
                    session = await attempt.connection.open(self._url, auth, self._patience.connect)
                    self._begin(attempt, token, session)
                    raise await attempt.connection.ended()
        except* MaruError as ended:
            reasons.extend(ended.exceptions)
        (reason,) = reasons
        assert isinstance(reason, MaruError)
        return reason

    async def _replace(self, old: Connection, delay: float) -> MaruError:
        """Replace a drained connection after `delay` seconds; if the attempt fails, again soon while `old` lasts."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    return await old.ended()
            error = await self._connect()
            if old.done:
                return error
            if error.code in TOKEN_REFUSED:
                self._tokens.refused(error.code)
            delay = REPLACEMENT_RETRY_S * 2 ** min(failures, 4) * (0.5 + self._patience.backoff.spread())
            failures += 1

    def _begin(self, attempt: Attempt, token: str, session: Json) -> None:
        """Use the connection, which has its session:ready, and retire the connection that it replaces."""
        self._tokens.accepted(token, session["expires_at"])
        self.ready = session
        self._ready_at = time.monotonic()
        old, self._attempt = self._attempt, attempt
        replacing = old is not None and not old.connection.done
        if old is not None and replacing:
            old.connection.retire()
            old.tasks.create_task(old.connection.finish(RETIRE_S))
        self.channels.begin(attempt, replacing=replacing)
        if not attempt.connection.over:
            self._connection = attempt.connection
            self._changed.set()
            if attempt.move_at is not None:  # its server stopped before it was ready
                self._schedule_replacement(attempt.connection, attempt.move_at)

    def _schedule_replacement(self, old: Connection, at: float) -> None:
        """Open the next connection at the given time."""
        delay = max(0.0, at - time.monotonic())
        self._replacements.append(asyncio.create_task(self._replace(old, delay)))

    def _lost(self, attempt: Attempt) -> None:
        """Stop using a connection that is over, at once. While another one is in use, nothing changes."""
        if self._is_replacement(attempt):
            return
        self._connection = None
        self._changed.clear()
        self.channels.lost()

    def _stopped(self, running: asyncio.Task[None]) -> None:
        """End every channel: there will be no other connection."""
        fault = MaruError("closed", "the bot has been closed") if running.cancelled() else running.exception()
        assert isinstance(fault, Exception)
        self._fault = fault
        self._changed.set()
        self.channels.close(fault, fatal=not running.cancelled(), now=running.cancelled())

    def _auth(self, attempt: Attempt, token: str) -> Json:
        return {"token": token, "resume": self.channels.resume(attempt)}

    def _is_replacement(self, attempt: Attempt) -> bool:
        """Whether another connection is in use than that of the attempt."""
        return self._connection is not None and self._connection is not attempt.connection

    def _heard(self, attempt: Attempt, name: str, body: Json) -> None:
        """Handle an event of the server. Must not await: a later event would be handled before this one."""
        match name:
            case "session:expiring":
                attempt.tasks.create_task(self._refresh(attempt.connection))
            case "session:draining" if attempt.move_at is None:
                attempt.move_at = time.monotonic() + body["reconnect_in_ms"] / 1000
                if attempt.connection is self._connection:
                    self._schedule_replacement(attempt.connection, attempt.move_at)
            case _:  # `Connection.open` returns session:ready, and a bot has no use for unknown events
                self.channels.heard(attempt, name, body, beside=self._is_replacement(attempt))

    async def _refresh(self, connection: Connection) -> None:
        """Renew the session's token. After the last try, the server ends the session, and the next has a new token."""
        for failures in range(REFRESH_TRIES):
            # Also before the first try: else all bots would ask for tokens at the same moment, and a bot whose tokens
            # live no longer than the notice would ask without a pause.
            await asyncio.sleep(self._patience.backoff(failures))
            with contextlib.suppress(MaruError):
                token = await self._tokens.fetch()
                renewed = await connection.command("auth:refresh", {"token": token}, lambda ack: str(ack["expires_at"]))
                self._tokens.accepted(token, renewed)
                return
