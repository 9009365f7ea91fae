"""A hosted channel's state on this replica: its position, its recent events, and hints that came too early."""

from server.domain.channels import ChannelName
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.sequencing import HELD_LIMIT, Ring, Sequencer
from server.ports.message_log import Replay


class HostedChannel:
    """A channel that has members on this replica, or had some a moment ago."""

    __slots__ = ("empty_since", "held", "missed_hints", "name", "ring", "sequencer")

    def __init__(self, name: ChannelName, now: float) -> None:
        self.name = name
        self.sequencer: Sequencer | None = None  # None until the channel is opened
        self.ring = Ring()
        self.held: list[Event] = []  # hints that came before the channel was opened
        self.missed_hints = False  # whether a hint came before the channel was opened, and was not held
        self.empty_since = now  # on the hub's clock; when the channel was last seen with a member or asked for

    @property
    def position(self) -> Position:
        """The last event given to members. Only of an opened channel."""
        assert self.sequencer is not None
        return self.sequencer.position

    def hold(self, event: Event) -> None:
        """Keep a hint that came before the channel's position was known."""
        if len(self.held) < HELD_LIMIT:
            self.held.append(event)
        else:
            self.missed_hints = True

    def open(self, recent: Replay) -> list[Event]:
        """Begin at the end of the log's recent events; return the hints that were held."""
        for event in recent.events:
            self.ring.push(event)
        last = recent.events[-1].offset if recent.events else recent.head.offset
        self.sequencer = Sequencer(Position(recent.head.epoch, last))
        held, self.held = self.held, []
        return held
