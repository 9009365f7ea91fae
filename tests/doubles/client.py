"""What a client sees of one channel, over all its sessions, and whether that is what it was promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.application.channels.subscriptions import Joined
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import NotResumable

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
        self._asked = Asked(None)

    def follow(self, inbox: Sequence[object]) -> "Follower":
        """Read on; return itself."""
        for item in inbox:
            self._take(item)
            self.last = self.position or self.last
        return self

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
        assert isinstance(event, Event)
        assert self.position is not None, f"offset {event.offset} came to one who is not in the channel"
        assert (event.epoch, event.offset) == (self.position.epoch, self.position.offset + 1)
        assert event == self._truth[event.epoch, event.offset]
        self.position = Position(event.epoch, event.offset)

    def _enter(self, position: Position, reason: NotResumable | None, events: Sequence[Event]) -> None:
        since = self._asked.since
        if since is not None and reason is None:
            assert since.epoch == position.epoch
            assert len(events) == position.offset - since.offset, "not exactly what was missed"
        else:
            assert len(events) <= self._asked.history
        if since is not None and reason is not None:
            self.restarts.append(Restart(since, reason))
        first = position.offset - len(events) + 1
        for offset, event in enumerate(events, first):
            assert event == self._truth[position.epoch, offset]
        self.position = position
