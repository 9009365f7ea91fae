"""A well-behaved client of one channel on a WebSocket of our own: light enough for hundreds in a process."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self

from loadtest import wire
from loadtest.asyncio_client import AsyncioClient, Owner
from loadtest.frames import WireError, frame
from loadtest.judge import Ack, ChannelRecord, Verdict
from loadtest.session import Session
from loadtest.target import Target
from loadtest.traffic import Closed, Listener, Outgoing, Refused, Stage
from loadtest.wire import Json
from tests.clients.witness import Witness

ENTER_S = 15.0
"""The longest that a single attempt to connect may take."""

LIBRARY_S = (0.5, 1.5)
"""A library comes back after this time at first; it doubles twice."""

ENTER_AT_ONCE = 50
"""Clients that connect at the same time, when many arrive."""

HASTE_S = 0.25
"""Between two attempts of a member that still has its old connection."""

RETRY_S = 0.3
"""After this time, a command that was refused for now is repeated."""

ABNORMAL = 1006
"""The code of a connection that ended without a close frame (RFC 6455, section 7.1.5)."""


class Link(Owner, Listener):
    """One connection of a member, from `position` on: tells the member everything."""

    def __init__(self, member: "Member", target: Target, position: Json | None, record: ChannelRecord) -> None:
        self._member = member
        channel = member.witness.channel
        self.session = Session(target.header, lambda: member.token, [channel], {channel: record}, self)
        if position is not None:
            self.session.state.joined({"channel": channel, **position})
        self.client = AsyncioClient(0, self.session, self)
        self._quiet = asyncio.Event()  # set whenever the last of its messages may have been answered

    @property
    def usable(self) -> bool:
        """Whether commands can be sent."""
        return self.session.stage is Stage.READY

    async def settled(self) -> None:
        """Wait until it owes no answer, or is lost."""
        while self.usable and self.session.outbox:
            self._quiet.clear()
            await self._quiet.wait()

    def retry(self) -> None:
        """Repeat the commands that were refused for now."""
        if self.session.stage > Stage.SHAKING:
            self._member.tries.update(key for key in self.session.refusals if key in self.session.outbox)
            self.client.write(self.session.retry())

    def lost(self, client: AsyncioClient, problem: Exception | None) -> None:
        self._quiet.set()
        self._member.lost(self, problem)

    def ready(self) -> None:
        self.client.entered()

    def heard(self, event: Json, *, live: bool) -> None:
        self._member.heard(event)

    def acked(self, message: Outgoing, ack: Ack, *, duplicate: bool) -> None:
        self._member.acked(ack, duplicate=duplicate)
        if not self.session.outbox:
            self._quiet.set()

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        self._member.refused(what, refusal)
        if refusal.retryable:
            asyncio.get_running_loop().call_later(RETRY_S, self.retry)

    def fault(self, verdict: Verdict, where: str) -> None:
        self._member.witness.fault(f"{verdict.value}: {where}")

    def draining(self, reconnect_in_s: float) -> None:
        self._member.draining(self, reconnect_in_s)


class Member:
    """One user in one channel, over as many connections as it takes. Use as an async context manager.

    It keeps its position and its unanswered messages. If it `heeds` the notice of a drain, it connects again in time,
    beside its present connection; else it is closed, and comes back as a library does. The witness hears every event
    once. Members of a channel may share its `record`.

    `acks` has each message's offset, and whether the message was in the log before, by its key. `tries` counts the
    sendings of a message; `refused_keys` are those of messages that were refused for now, or for good. `codes` are the
    close codes of the connections that have ended, `gaps` the seconds without a connection.
    """

    def __init__(
        self,
        url: str,
        user: str,
        token: str,
        channel: str,
        *,
        heeds: bool = True,
        in_flight: int = 1,
        record: ChannelRecord | None = None,
    ) -> None:
        self.witness = Witness(user, "socket", channel)
        self.token = token
        self.heeds = heeds
        self.acks: dict[str, tuple[int, bool]] = {}
        self.tries: Counter[str] = Counter()
        self.refused_keys: set[str] = set()
        self.codes: list[int] = []
        self.gaps: list[float] = []
        self.changed = asyncio.Event()  # set at each connection, event and ack
        self._target = Target.parse(url)
        self._record = record or ChannelRecord()
        self._slots = asyncio.Semaphore(in_flight)  # more messages wait here, in order
        self._position: Json | None = None
        self._link: Link | None = None  # the connection in use; an old one may still owe answers
        self._seeker: asyncio.Task[None] | None = None  # is about to find the next connection
        self._connecting = False  # whether it is at it
        self._lost_at: float | None = None
        self._owed: dict[str, asyncio.Future[int]] = {}
        self._unsent: list[Outgoing] = []  # until there is a connection
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def online(self) -> bool:
        """Whether there is a connection in use."""
        return self._link is not None

    @property
    def unanswered(self) -> set[str]:
        """The keys of the messages that wait for an answer."""
        return set(self._owed)

    async def __aenter__(self) -> Self:
        """Connect and join; return when everything that is sent from now on will be heard."""
        self._seek(0.0)
        while not self.online:
            self.changed.clear()
            await self.changed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Vanish."""
        self._leaving = True
        for task in list(self._tasks):
            task.cancel()
        if self._link is not None:
            self._link.client.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send(self, key: str, text: str) -> int:
        """Send a message until it is acked; return its offset. Raises `Refused`."""
        async with self._slots:
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._owed[key] = answer
            self._say(Outgoing(self.witness.channel, key, text, "", 0.0))
            return await answer

    # Told by its connections

    def heard(self, event: Json) -> None:
        """Hear an event. Two connections bring the same events, each in order: the first arrival counts."""
        if event["offset"] > self.witness.last:
            message = event["message"]
            self.witness.hear(event["offset"], message["id"], message["text"])
            self._position = {"epoch": event["epoch"], "offset": event["offset"]}
            self.changed.set()

    def acked(self, ack: Ack, *, duplicate: bool) -> None:
        """Note an ack."""
        self.acks[ack.key] = ack.offset, duplicate
        if answer := self._owed.pop(ack.key, None):
            answer.set_result(ack.offset)
        self.changed.set()

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        """Note a refusal; for now, or for good."""
        self.witness.failed[f"{'retried ' if refusal.retryable else ''}{refusal.code}"] += 1
        if isinstance(what, Outgoing):
            self.refused_keys.add(what.key)
            if not refusal.retryable:
                self._owed.pop(what.key).set_exception(refusal)

    def draining(self, link: Link, reconnect_in_s: float) -> None:
        """Move, if it heeds the notice."""
        if self.heeds and link is self._link and self._seeker is None:
            self._seek(reconnect_in_s)

    def lost(self, link: Link, problem: Exception | None) -> None:
        """Note that a connection has ended; send its unanswered messages again."""
        self.codes.append(problem.code if isinstance(problem, Closed) else ABNORMAL)
        self._unsent += link.session.outbox.values()
        if self._leaving:
            return
        if link is self._link:
            self._link = None
            self._lost_at = time.monotonic()
            if not self._connecting:
                self._seek(random.uniform(*LIBRARY_S))
        self._send_unsent()

    # Connecting

    def _seek(self, wait_s: float) -> None:
        """Look for a connection after this time; an earlier plan is dropped."""
        if self._seeker is not None:
            self._seeker.cancel()
        self._seeker = asyncio.get_running_loop().create_task(self._find(wait_s))
        self._tasks.add(self._seeker)
        self._seeker.add_done_callback(self._forget)

    async def _find(self, wait_s: float) -> None:
        """Connect, beside a present connection if there is one; use the new connection, and leave the old."""
        failures = 0
        await asyncio.sleep(wait_s)
        while (link := await self._connect()) is None:
            failures += 1
            await asyncio.sleep(self._patience_s(failures))
        old, self._seeker = self._link, None
        self._use(link)
        if old is not None:
            await old.settled()
            old.client.write(frame(wire.DISCONNECT))

    def _patience_s(self, failures: int) -> float:
        if self.online:
            return HASTE_S * (0.5 + random.random())
        return random.uniform(*LIBRARY_S) * (1 << min(failures, 2))

    async def _connect(self) -> Link | None:
        """Return a connection that has resumed; None if the attempt failed."""
        self.witness.dials()
        self._connecting = True
        link = Link(self, self._target, self._position, self._record)
        try:
            async with asyncio.timeout(ENTER_S):
                await link.client.enter(self._target, None)
        except (Closed, Refused, WireError, OSError) as problem:  # a TimeoutError is an OSError
            self.witness.failed[str(problem) or type(problem).__name__] += 1
            if isinstance(problem, WireError) or (isinstance(problem, Refused) and not problem.retryable):
                self.witness.fault(str(problem))
            return None
        finally:
            self._connecting = False
        if not link.usable:  # lost in the same moment
            return None
        if self._position is None:
            self._position = link.session.state.position(self.witness.channel)
        return link

    def _use(self, link: Link) -> None:
        """Use this connection from now on."""
        self._link = link
        self.changed.set()
        if self._lost_at is not None:
            self.gaps.append(time.monotonic() - self._lost_at)
            self._lost_at = None
        self._send_unsent()

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._say(message)

    def _say(self, message: Outgoing) -> None:
        if self._link is None:
            self._unsent.append(message)
            return
        self.tries[message.key] += 1
        self._link.client.write(self._link.session.say(message))

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.witness.fault(f"{type(problem).__name__}: {problem}")


async def enter_all(resources: AsyncExitStack, clients: Sequence[AbstractAsyncContextManager[Any]]) -> None:
    """Enter clients, some at a time."""
    for begin in range(0, len(clients), ENTER_AT_ONCE):
        await asyncio.gather(*map(resources.enter_async_context, clients[begin : begin + ENTER_AT_ONCE]))
