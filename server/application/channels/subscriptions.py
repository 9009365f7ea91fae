"""Joining and resuming channels: exactly what was missed, then what comes, with nothing lost or repeated between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.application.channels.hub import HostedChannel, Hub
from server.application.deadline import deadline
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded, PermissionDenied, TooManyChannels, Unavailable
from server.domain.events import Event
from server.domain.identity import Action, Identity, SessionId, authorize
from server.domain.messages import Position
from server.domain.outcomes import ReplaySource
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import REPLAY_LIMIT, NotResumable, check_resumable, newest_within
from server.domain.sequencing import merge
from server.ports.message_log import MessageLog
from server.ports.metrics import SILENT, Metrics
from server.ports.transport import Transport

REPLAY_READS = 5
"""Log reads in one join. The log and the ring overlap unless a channel gains a whole ring of events during one read."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A session is in the channel; every event beyond `position` will reach it. `reason`: why `since` was not met."""

    position: Position
    reason: NotResumable | None
    events: tuple[Event, ...]


class Subscriptions:
    """The use cases of membership. The last step of each is synchronous: the session enters at the very position up to
    which it has been given the events, and what the caller writes without awaiting goes before any later event."""

    def __init__(
        self, log: MessageLog, hub: Hub, transport: Transport, max_channels: int, metrics: Metrics = SILENT
    ) -> None:
        self._log = log
        self._hub = hub
        self._transport = transport
        self._max_channels = max_channels
        self._metrics = metrics

    async def join(
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        since: Position | None = None,
        history: int = 0,
    ) -> Joined:
        """Enter a channel: with `since`, what was missed; else (or where that can't be given whole) the last `history`
        events, or as many of them as make `REPLAY_BYTES`. Raises `PermissionDenied`, `TooManyChannels`, `Unavailable`,
        `Overloaded`."""
        authorize(identity, Action.JOIN, channel)
        joined_already = self._transport.channels(session)
        if channel not in joined_already and len(joined_already) >= self._max_channels:
            raise TooManyChannels(
                f"a session may be in {self._max_channels} channels", details={"limit": self._max_channels}
            )
        async with deadline():
            hosted = await self._hub.host(channel)
            joined = await self._catch_up(hosted, since, history)
        self._transport.enter(session, channel)
        if since is not None:
            self._metrics.resumed(joined.reason)
        return joined

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """Leave a channel; leaving one that was not joined is no error."""
        self._transport.leave(session, channel)

    async def resume(self, session: SessionId, identity: Identity, positions: Mapping[ChannelName, Position]) -> None:
        """Enter each channel from its position, and push `ChannelResumed` or, where that fails, `ChannelRemoved`.

        Where the log or the broker is away for one channel, it is not asked for the others: 500 waits would be minutes.
        """
        away = False
        for channel, since in positions.items():
            if away:
                self._transport.push(session, ChannelRemoved(channel, Unavailable))
                continue
            try:
                joined = await self.join(session, identity, channel, since)
            except MaruError as error:
                away = isinstance(error, Unavailable)
                self._transport.push(session, ChannelRemoved(channel, type(error)))
            else:
                self._transport.push(session, ChannelResumed(channel, joined.position, joined.reason, joined.events))
                await self._transport.flushed(session)

    def apply_grants(self, session: SessionId, identity: Identity) -> None:
        """Remove the session from the channels that its (new) grants do not allow."""
        for channel in list(self._transport.channels(session)):
            try:
                authorize(identity, Action.JOIN, channel)
            except PermissionDenied as error:
                self._transport.leave(session, channel)
                self._transport.push(session, ChannelRemoved(channel, type(error)))

    async def _catch_up(self, hosted: HostedChannel, since: Position | None, history: int) -> Joined:
        """Return the events that lead up to the hub's position, without an await between looking and returning."""
        if since is not None and _is_beyond(since, hosted.position):
            # Another replica may have told the client of events that this hub has yet to see.
            await self._hub.refresh(hosted)
        floor = 0
        logged: Sequence[Event] = ()
        for _ in range(REPLAY_READS):
            joined = _merge_from(hosted, since, history, floor, logged)
            if isinstance(joined, Joined):
                return self._counted(joined, logged)
            replay = await self._log.read(hosted.name, joined, REPLAY_LIMIT)
            if replay.head.epoch != hosted.position.epoch:
                await self._hub.refresh(hosted)
                floor, logged = 0, ()
            else:
                floor, logged = replay.floor, replay.events
        joined = _merge_from(hosted, since, history, floor, logged)
        if isinstance(joined, Joined):
            return self._counted(joined, logged)
        raise Overloaded(f"'{hosted.name}' moves faster than it can be replayed")

    def _counted(self, joined: Joined, logged: Sequence[Event]) -> Joined:
        if joined.events:
            self._metrics.replayed(ReplaySource.LOG if logged else ReplaySource.RING)
        return joined


def _is_beyond(since: Position, position: Position) -> bool:
    return since.epoch != position.epoch or since.offset > position.offset


def _merge_from(
    hosted: HostedChannel, since: Position | None, history: int, floor: int, logged: Sequence[Event]
) -> Joined | int:
    """Return the events between the client's place and the hub's position, from the ring and events of the log; or
    the offset after which the log has to be read for them."""
    position = hosted.position
    missed = None if since is None else check_resumable(since, floor, position)
    if since is None or missed is not None:
        after = max(floor, position.offset - history)
    else:
        after = since.offset
    events = merge(after, position.offset, logged, hosted.ring.after(after))
    if events is None:
        return after
    given = newest_within(events)
    if since is not None and missed is None and len(given) < len(events):
        return Joined(position, NotResumable.TOO_FAR_BEHIND, tuple(given[-history:]) if history else ())
    return Joined(position, missed, tuple(given))
