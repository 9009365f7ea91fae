"""What a client sees of one channel, over all its sessions, and whether that is what it was promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.application.channels.resuming import Joined
from server.domain.events import (
    Event,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    erased,
    log_events,
)
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import NotResumable
from server.domain.rings import EncodedEvent
from server.wire.messages import erase
from tests.doubles.samples import encoded

Truth = Mapping[tuple[str, int], Event]
"""Every event that was ever written, by epoch and offset."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The client asked to enter: a mark in the inbox."""

    since: Position | None
    history: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """The client left, or lost its connection: a mark in the inbox."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The client was at a position, and was told that it can't be given what follows."""

    position: Position
    reason: NotResumable


class Follower:
    """Reads an inbox as PROTOCOL.md tells clients to, and asserts each promise on the way.

    `position` is where the client is, None while it is not in the channel; `last` is where it was last; `restarts` are
    the breaks that it was told of.
    """

    def __init__(self, truth: Truth) -> None:
        self.position: Position | None = None
        self.last: Position | None = None
        self.restarts: list[Restart] = []
        self._truth = truth
        self._deleted = {event.id for event in truth.values() if isinstance(event, MessageDeleted)}
        self._asked = Asked(None)

    def follow(self, inbox: Sequence[object]) -> "Follower":
        """Read on; return itself."""
        for item in inbox:
            self._take(item)
            self.last = self.position or self.last
        return self

    def misses_nothing(self, head: Position) -> bool:
        """Whether the client is at the head of the log, or only entries of unknown kinds are between."""
        at = self.position
        return at is not None and at.epoch == head.epoch and self._known_between(at, head.offset) == []

    def _take(self, item: object) -> None:
        match item:
            case Asked():
                self._asked = item
            case Gone():
                self.position = None
            case Joined(position, reason, events):
                self._enter(position, reason, events)
            case ChannelResumed(_, position, reason, events) if self.position is None:
                self._enter(position, reason, events)
            case ChannelResumed():
                self._restart(item)
            case ChannelRemoved():
                assert self.position is None, "a member was removed"
            case _:
                self._live(item)

    def _restart(self, resumed: ChannelResumed) -> None:
        assert self.position is not None
        assert resumed.reason is not None, "a member was resumed without a reason"
        assert not resumed.events
        self.restarts.append(Restart(self.position, resumed.reason))
        self.position = resumed.position

    def _live(self, event: object) -> None:
        assert isinstance(event, LogEvent)
        assert self.position is not None, f"offset {event.offset} came to one who is not in the channel"
        assert event.epoch == self.position.epoch
        [written] = self._known_between(self.position, event.offset)
        assert self._is(event, written), "not exactly the next event"
        self.position = Position(event.epoch, event.offset)

    def _enter(self, position: Position, reason: NotResumable | None, events: Sequence[EncodedEvent]) -> None:
        since = self._asked.since
        if since is not None and reason is None:
            assert since.epoch == position.epoch
            self._check_replay(events, self._known_between(since, position.offset))
        else:
            assert len(events) <= self._asked.history
        if since is not None and reason is not None:
            self.restarts.append(Restart(since, reason))
        if events:
            start = Position(position.epoch, events[0].offset - 1)
            self._check_replay(events, self._known_between(start, position.offset))
        self.position = position

    def _check_replay(self, given: Sequence[EncodedEvent], known: Sequence[LogEvent]) -> None:
        """Assert that a replay is exactly the known events, without the text of the messages that are deleted in it; a
        message that is deleted later may have lost its text already."""
        assert len(given) == len(known), "not exactly the events that were asked for"
        deleted = {event.id for event in known if isinstance(event, MessageDeleted)}
        deleted_later = {event.id for event in self._truth.values() if isinstance(event, MessageDeleted)}
        for one, whole in zip(given, encoded(known), strict=True):
            if whole.deletes or whole.message not in deleted_later:
                assert one == whole
            else:
                assert one == erase(whole) or (one == whole and whole.message not in deleted)

    def _known_between(self, after: Position, upto: int) -> list[LogEvent]:
        """The events that a client is given of the log's entries after a position, up to an offset."""
        entries = (self._truth[after.epoch, offset] for offset in range(after.offset + 1, upto + 1))
        return [*log_events(entries)]

    def _is(self, event: LogEvent, written: LogEvent) -> bool:
        if isinstance(written, MessageCreated | MessageEdited) and written.message.id in self._deleted:
            return event in (written, erased(written))
        return event == written
