"""Catching up: the events between a client's position and the hub's, for a join or a resume."""

from collections.abc import Sequence

from server.application.channels.hosting import HostedChannel
from server.application.channels.hub import Hub
from server.application.channels.resuming import Joined
from server.domain.errors import Overloaded
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.outcomes import ReplaySource
from server.domain.recovery import REPLAY_LIMIT, NotResumable, check_resumable, newest_within
from server.ports.message_log import MessageLog
from server.ports.metrics import ChannelMetrics

REPLAY_READS = 5
"""Log reads in a join. The log and the ring overlap unless a channel gains a whole ring of events during a read."""


class CatchingUp:
    """Collects missed events, from the rings of the hosted channels and from the log."""

    def __init__(self, log: MessageLog, hub: Hub, metrics: ChannelMetrics) -> None:
        self._log = log
        self._hub = hub
        self._metrics = metrics

    async def catch_up(self, hosted: HostedChannel, since: Position | None, history: int) -> Joined:
        """Return the events that lead up to the hub's position, without an await between looking and returning."""
        opened_for, hosted.opened_for = hosted.opened_for, None
        if since is not None and since is not opened_for and _is_beyond(since, hosted.sequencer.position):
            # Another replica may have given the client events that this hub has not seen yet.
            await self._hub.refresh(hosted)
        floor = 0
        logged: Sequence[Event] = ()
        for _ in range(REPLAY_READS):
            joined = _merge_from(hosted, since, history, floor, logged)
            if isinstance(joined, Joined):
                return self._counted(joined, logged)
            replay = await self._log.read(hosted.name, joined, REPLAY_LIMIT)
            if replay.head.epoch != hosted.sequencer.position.epoch:
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
    """Return the events between the client's position and the hub's, from the ring and from events of the log; or the
    offset after which the log has to be read for them."""
    position = hosted.sequencer.position
    missed = None if since is None else _missed(hosted, since, floor)
    if since is None or missed is not None:
        after = max(floor, position.offset - history)
    else:
        after = since.offset
    events = hosted.ring.replay(after, position.offset, logged)
    if events is None:
        return after
    told = tuple([event for event in events if event.name])
    given = newest_within(told)
    if since is not None and missed is None and len(given) < len(told):
        hosted.heavy = told[-len(given) - 1].offset
        return Joined(position, NotResumable.TOO_FAR_BEHIND, tuple(given[-history:]) if history else ())
    return Joined(position, missed, tuple(given))


def _missed(hosted: HostedChannel, since: Position, floor: int) -> NotResumable | None:
    """As `check_resumable`. A replay that was too large stays so, since the log grows: it is not read again for each
    client that comes back. If messages were deleted meanwhile, the client reads history in vain."""
    missed = check_resumable(since, floor, hosted.position)
    return NotResumable.TOO_FAR_BEHIND if missed is None and since.offset < hosted.heavy else missed
