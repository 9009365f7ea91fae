"""Resuming: a session that comes back enters all its channels, in turns with the other sessions."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from server.application.channels.hub import Hub
from server.application.channels.resume_queue import Place, ResumeQueue
from server.application.people.unread import Unread
from server.application.turn import Turn
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Unavailable
from server.domain.identity import Action, Identity, SessionId, allows
from server.domain.marks import Mark
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import NotResumable, json_size
from server.domain.rings import EncodedEvent
from server.ports.membership import Membership
from server.ports.transport import Transport

AWAY_S = 1.0
"""Time that a resume waits in vain, over all its channels. A channel that is out of order by itself fails at once, and
costs the others nothing."""

PACED_BYTES = 64 * 1024
"""Bytes that a session is given in a resume before it is waited for: with a replay of `REPLAY_BYTES` on top they are
less than may wait for a slow reader, and a write for each of 500 channels would take longer than the channels."""

AHEAD = 8
"""Channels of a session that are opened together: the log answers eight reads in little more than the time of one. So
many are opened in vain, at most, for a session that is gone."""

MARKS_AHEAD = 128
"""Channels of a session whose marks are read together: four reads for the 500 of a resume. Of a channel in which much
happens until it is its turn, the mark is read again."""

AHEAD_S = 0.1
"""Time for them. A channel that takes longer is waited for when it is joined."""

RESUMED_BYTES = 400
"""Bytes of a `channel:resumed` without its events, at most."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A session is in the channel, and every event beyond `position` will reach it.

    `events` lead up to `position`. `reason` says why they are not the events after `since`, if they are not. `mark`:
    how far the user has read, with the counts as of `position`; None if nothing is counted.
    """

    position: Position
    reason: NotResumable | None
    events: tuple[EncodedEvent, ...]
    mark: Mark | None = None


class Join(Protocol):
    """Enters a channel from a position (`Subscriptions.join`). `mark`: the user's, read a moment ago."""

    async def __call__(  # as `Subscriptions.join`
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        answer: Callable[[Joined], None],
        since: Position,
        *,
        mark: Mark | None,
    ) -> None: ...


@dataclass(slots=True)
class _Resume:
    """A session's resume, under way."""

    session: SessionId
    identity: Identity
    left: deque[tuple[ChannelName, Position]]  # to be entered
    begun: bool = False  # whether a channel has been entered or refused
    lost_s: float = 0.0  # spent on channels that are unavailable
    marks: Mapping[ChannelName, Mark] = field(default_factory=dict)  # of channels to be entered next
    ahead: int = 0  # channels to be entered before marks are read again
    unpaced: int = 0  # bytes that were pushed since the session was waited for
    turn: Turn = field(default_factory=Turn)


class Resuming:
    """The use case of a resume, for all sessions of a replica."""

    def __init__(
        self, join: Join, hub: Hub, transport: Transport, membership: Membership, unread: Unread | None = None
    ) -> None:
        self._join = join
        self._unread = unread  # None if nothing is counted
        self._hub = hub
        self._transport = transport
        self._membership = membership
        self._queue = ResumeQueue()
        self._places: dict[SessionId, Place] = {}  # of the sessions that resume

    async def resume(self, session: SessionId, identity: Identity, positions: Mapping[ChannelName, Position]) -> None:
        """Enter each channel from its position, and push `ChannelResumed` or, if that fails, `ChannelRemoved`.

        Sessions take turns, a few channels at a time (`ResumeQueue`), and the work ends with the session. If the log
        and the broker keep the session waiting for `AWAY_S` in vain, they are not asked for the other channels: 500
        waits would be minutes.
        """
        place = self._places[session] = self._queue.arrive()
        try:
            await self._resume(place, _Resume(session, identity, deque(positions.items())))
        finally:
            del self._places[session]

    def gone(self, session: SessionId) -> None:
        """End a resume that waits for its turn: its session is no longer present."""
        if (place := self._places.get(session)) is not None:
            place.gone()

    async def _resume(self, place: Place, resume: _Resume) -> None:
        while resume.left and resume.lost_s < AWAY_S:
            async with place:
                await self._enter_some(resume, AHEAD if resume.begun else 1)
            if resume.unpaced >= PACED_BYTES:
                await self._transport.flushed(resume.session)
                resume.unpaced = 0
        for channel, _ in resume.left:
            self._transport.push(resume.session, ChannelRemoved(channel, Unavailable))

    async def _enter_some(self, resume: _Resume, count: int) -> None:
        """Enter so many channels, or fewer if their events are many."""
        if count > 1 and not resume.lost_s and self._membership.present(resume.session):
            await self._open_ahead(resume.identity, dict(islice(resume.left, count)))
        loop = asyncio.get_running_loop()
        while count and resume.left and resume.lost_s < AWAY_S and resume.unpaced < PACED_BYTES:
            if resume.turn.over():
                await resume.turn.pass_on()  # channels that are in memory are resumed without waiting for anything
            if not self._membership.present(resume.session):
                resume.left.clear()
                return
            if not resume.ahead:
                await self._read_marks(resume)
                continue
            channel, since = resume.left.popleft()
            count, resume.ahead = count - 1, resume.ahead - 1
            began, resume.begun = loop.time(), True
            given = await self._enter(resume, channel, since)
            if isinstance(given, MaruError):
                resume.lost_s += loop.time() - began if isinstance(given, Unavailable) else 0.0
                self._transport.push(resume.session, ChannelRemoved(channel, type(given)))
            else:
                resume.unpaced += given

    async def _open_ahead(self, identity: Identity, positions: Mapping[ChannelName, Position]) -> None:
        """Open several channels together; an error is met again when the channel is joined."""
        closed = [
            (channel, since)
            for channel, since in positions.items()
            if not self._hub.hosts(channel) and allows(identity.grants, Action.JOIN, channel)
        ]
        if not closed:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AHEAD_S):
                await asyncio.gather(*(self._hub.host(*each) for each in closed), return_exceptions=True)

    async def _read_marks(self, resume: _Resume) -> None:
        """Read the user's marks in the next channels. If that fails, each channel tries once more for itself, as long
        as there is time."""
        some = [channel for channel, _ in islice(resume.left, MARKS_AHEAD)]
        resume.ahead, resume.marks = len(some), {}
        if self._unread is None:
            return
        granted = [channel for channel in some if allows(resume.identity.grants, Action.JOIN, channel)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(AWAY_S - resume.lost_s):
                resume.marks = await self._unread.marks(resume.identity.user, granted)
        except TimeoutError:
            resume.lost_s = AWAY_S
        except Unavailable:
            resume.lost_s += loop.time() - began

    async def _enter(self, resume: _Resume, channel: ChannelName, since: Position) -> int | MaruError:
        """Enter a channel from a position, and push `ChannelResumed`. Return its bytes, or the error if that fails."""
        size, session = RESUMED_BYTES, resume.session

        def answer(joined: Joined) -> None:
            nonlocal size
            self._transport.push(
                session, ChannelResumed(channel, joined.position, joined.reason, joined.events, joined.mark)
            )
            size += sum(map(json_size, joined.events))

        try:
            await self._join(session, resume.identity, channel, answer, since, mark=resume.marks.get(channel))
        except MaruError as error:
            return error
        return size
