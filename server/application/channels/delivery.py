"""Delivery: everything that the members of a hosted channel are given, and the channel's state that goes with it."""

from collections.abc import Callable

import structlog

from server.application.channels.hosting import HostedChannel
from server.domain.channels import ChannelName
from server.domain.events import Event, UnknownEvent, without_deleted
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.recovery import NotResumable
from server.domain.sequencing import fingerprint
from server.ports.membership import Membership
from server.ports.message_log import MessageLog
from server.ports.metrics import ChannelMetrics
from server.ports.transport import Transport

_log = structlog.get_logger("maru.hub")


class Delivery:
    """Gives members what comes next in a channel. Nothing here awaits."""

    def __init__(self, log: MessageLog, transport: Transport, membership: Membership, metrics: ChannelMetrics) -> None:
        self._log = log
        self._transport = transport
        self._membership = membership
        self._metrics = metrics
        self.restarted: Callable[[ChannelName, Position], None] | None = None
        """Tells the members that a channel was restarted, and the position that they were at; None: this does."""
        self.acts: list[Callable[[Event], None]] = []
        """What is done with each event behind its delivery."""

    def deliver(self, hosted: HostedChannel, events: tuple[Event, ...]) -> None:
        """Deliver the channel's next events, which its sequencer has put in order; of those that belong to a message
        whose deletion is among them, only the places.

        If an event can't be delivered, the channel's position is before that event again, and the fault goes on to the
        caller: no event is skipped, and none is delivered twice.
        """
        delivered = hosted.position.offset - len(events)
        try:
            for event in without_deleted(events):
                if isinstance(event, UnknownEvent):
                    encoded = hosted.ring.encode(event)
                else:
                    encoded = self._transport.deliver(event)
                    self._metrics.ordered(event)
                delivered, hosted.last = event.offset, fingerprint(event)
                hosted.ring.push(encoded)
                self._log.note(event)
                for act in self.acts:
                    act(event)
        finally:
            if delivered < hosted.position.offset:
                hosted.sequencer.reset(Position(hosted.position.epoch, delivered))

    def restart(self, hosted: HostedChannel, head: Position, reason: NotResumable) -> None:
        """Tell the members that they can't be given what they missed, and continue from the log's head."""
        before = hosted.position
        hosted.restart(head)
        _log.warning("channel.restarted", channel=hosted.name, reason=reason.value, offset=head.offset)
        if self.restarted is not None:
            self.restarted(hosted.name, before)
            return
        for session in self._membership.members(hosted.name):
            self._transport.push(session, ChannelResumed(hosted.name, head, reason, ()))
