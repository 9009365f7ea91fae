"""Reactions in memory."""

from server.adapters.channel_state import Channel, Kept
from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.appending import Settled, not_found
from server.domain.drafts import Reaction
from server.domain.events import MessageDeleted, ReactionChanged
from server.domain.messages import Position
from server.domain.reactions import is_told
from server.domain.tallies import Tally, react_to_deleted
from server.ports.reactions import Reactions


class MemoryReactions(Reactions):
    """The reactions to the messages of a log."""

    def __init__(self, log: MemoryMessageLog) -> None:
        self._log = log

    async def react(self, reaction: Reaction) -> Settled:
        channel = self._log.channel(reaction.channel)
        kept = channel.messages.get(reaction.id)
        if kept is None:
            raise not_found()
        if isinstance(kept.last, MessageDeleted):
            raise react_to_deleted()
        tally = kept.tally or Tally()
        if tally.has(reaction.emoji, reaction.user) == reaction.add:
            return Settled(Position(channel.epoch, kept.told), None, duplicate=True)
        if reaction.add:
            tally.check(reaction.emoji)
        return self._change(channel, kept, tally, reaction)

    def _change(self, channel: Channel, kept: Kept, tally: Tally, reaction: Reaction) -> Settled:
        before = tally.count(reaction.emoji)
        told = is_told(before, before + (1 if reaction.add else -1))
        if told:
            self._log.take(reaction.channel)
        tally.change(reaction.emoji, reaction.user, add=reaction.add)
        kept.tally = tally
        if not told:
            return Settled(Position(channel.epoch, kept.told), None, duplicate=False)
        place = channel.next
        event = ReactionChanged(reaction.channel, place.epoch, place.offset, reaction.at, reaction.id, tally.state())
        self._log.write(channel, event)
        return Settled(place, event, duplicate=False)
