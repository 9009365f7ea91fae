"""The connections of a replica, in memory: what each session was given stands in its inbox, in order."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import Event, LogEvent
from server.domain.identity import SessionId
from server.domain.pushes import ChannelPush, Push
from server.domain.rings import EncodedEvent
from server.ports.membership import Membership
from server.ports.transport import Transport
from server.wire.messages import encode

PATIENCE_S = 5.0
"""How long a test waits for what it expects; virtual time where the loop's is."""


class RecordingTransport(Transport, Membership):
    """Every connected session reads at once, except those in `slow`, which take so many seconds for all that they were
    given. `ended` keeps the error of those that were terminated. Delivering the event `poison` raises a fault."""

    def __init__(self) -> None:
        self.ended: dict[SessionId, MaruError] = {}
        self.slow: dict[SessionId, float] = {}
        self.settling: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0)
        self.poison: Event | None = None
        self.waited_for: list[SessionId] = []  # by `flushed`
        self._inboxes: dict[SessionId, list[object]] = {}
        self._members: dict[ChannelName, dict[SessionId, None]] = {}
        self._changed = asyncio.Event()

    def connect(self, session: SessionId, inbox: list[object] | None = None) -> list[object]:
        """Let the session exist; return its inbox, to which a caller may add marks of its own."""
        self._inboxes[session] = [] if inbox is None else inbox
        return self._inboxes[session]

    def inbox(self, session: SessionId) -> list[object]:
        """Return what the session was given."""
        return self._inboxes[session]

    def disconnect(self, session: SessionId) -> None:
        """Let the session be gone, as a lost connection would."""
        self.end(session)
        self._inboxes.pop(session, None)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that was delivered or pushed makes it true, at most `PATIENCE_S`."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def deliver(self, event: LogEvent) -> EncodedEvent:
        if event == self.poison:
            raise ValueError("this event can't be encoded")
        for session in self._members.get(event.channel, {}):
            self._inboxes[session].append(event)
        self._changed.set()
        return encode(event)

    def tell(self, channel: ChannelName, push: ChannelPush, skip: Collection[SessionId] = ()) -> None:
        for session in self._members.get(channel, {}):
            if session not in skip:
                self._inboxes[session].append(push)
        self._changed.set()

    def push(self, session: SessionId, push: Push) -> None:
        if session in self._inboxes:
            self._inboxes[session].append(push)
        self._changed.set()

    async def settled(self) -> None:
        await self.settling()

    async def flushed(self, session: SessionId) -> None:
        self.waited_for.append(session)
        if session in self.slow:
            await asyncio.sleep(self.slow[session])

    def enter(self, session: SessionId, channel: ChannelName) -> None:
        if session in self._inboxes:
            self._members.setdefault(channel, {})[session] = None

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        self._members.get(channel, {}).pop(session, None)

    def end(self, session: SessionId) -> Collection[ChannelName]:
        left = self.channels(session)
        for channel in left:
            self.leave(session, channel)
        return left

    def end_memberships(self, session: SessionId) -> None:
        """As `end`, for use cases that are handed a way to do it."""
        self.end(session)

    def present(self, session: SessionId) -> bool:
        return session in self._inboxes

    def channels(self, session: SessionId) -> Collection[ChannelName]:
        return [channel for channel, members in self._members.items() if session in members]

    def count(self, channel: ChannelName) -> int:
        return len(self._members.get(channel, {}))

    def members(self, channel: ChannelName) -> Collection[SessionId]:
        return list(self._members.get(channel, {}))

    def terminate(self, session: SessionId, error: MaruError) -> None:
        if session in self._inboxes:
            self.ended[session] = error
            self.disconnect(session)
        self._changed.set()
