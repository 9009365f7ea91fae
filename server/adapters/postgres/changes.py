"""All that is no new message: edits, deletions, reactions and events of applications. A batch is a transaction that
locks the channels, reads all that the entries touch, decides in memory, then writes."""

from collections.abc import Sequence
from typing import assert_never

import structlog
from asyncpg import Connection

from server.adapters.codec import DecodeError
from server.adapters.postgres.channels import Channels
from server.adapters.postgres.database import Database
from server.adapters.postgres.growth import Channel, Growth
from server.adapters.postgres.intake import Entry, Outcome, Waiting, out_of_order
from server.adapters.postgres.recording import Recording
from server.adapters.postgres.states import States
from server.adapters.postgres.tallies import Tallied, Tallies
from server.adapters.postgres.terms import Terms
from server.adapters.postgres.transactions import transaction
from server.domain.appending import Appended, Settled, decide, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Reaction, Record, Revision, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, ReactionChanged
from server.domain.messages import Position
from server.domain.reactions import is_told
from server.domain.tallies import react_to_deleted

_log = structlog.get_logger("maru.log")


class Changes:
    """Writes the entries that are no new messages."""

    def __init__(self, database: Database, channels: Channels, terms: Terms) -> None:
        self._database, self._channels, self._terms = database, channels, terms

    async def write(self, batch: Sequence[Waiting], seconds: float) -> Sequence[Outcome]:
        """Write the entries, in their order. Raises `Unavailable` if none was written."""
        ids = await self._channels.ids({waiting.draft.channel for waiting in batch})

        async def work(connection: Connection) -> Sequence[Outcome]:
            assert self._database.identity is not None
            async with transaction(connection):
                growth = Growth(connection, self._terms, self._database.identity.key)
                await growth.lock(self._database.life, {each.draft.channel: ids[each.draft.channel] for each in batch})
                if len(growth.channels) < len({each.draft.channel for each in batch}):
                    self._channels.forget()
                    raise Unavailable("PostgreSQL does not know the channel any more")
                return await Batch(connection, growth).run(batch)

        return await self._database.run(work, seconds)


class Batch:
    """The entries of a transaction."""

    def __init__(self, connection: Connection, growth: Growth) -> None:
        self._growth = growth
        self._tallies = Tallies(connection)
        self._states = States(connection, growth, self._tallies)
        self._recording = Recording(connection, growth)
        self._refused: set[tuple[Sender, ChannelName]] = set()  # channels that were refused to their senders

    async def run(self, batch: Sequence[Waiting]) -> list[Outcome]:
        """Write the entries; return the outcome of each."""
        drafts = [waiting.draft for waiting in batch]
        await self._states.load(drafts)
        ids = {name: channel.id for name, channel in self._growth.channels.items()}
        await self._tallies.load([draft for draft in drafts if isinstance(draft, Reaction)], ids)
        await self._recording.load(drafts)
        outcomes = [await self._outcome(waiting.draft, waiting.sender) for waiting in batch]
        await self._growth.save()
        await self._states.save()
        await self._recording.save()
        await self._tallies.save()
        return outcomes

    async def _outcome(self, draft: Entry, sender: Sender | None) -> Outcome:
        if sender is not None and (sender, draft.channel) in self._refused:
            return out_of_order()
        try:
            return await self._write(draft)
        except DecodeError as error:
            _log.error("message_log.unreadable", channel=draft.channel, error=str(error))
            refusal: MaruError = Unavailable("what the message log holds of this message can't be read")
            refusal.__cause__ = error
        except MaruError as error:
            refusal = error
        if sender is not None and refusal.retryable:
            self._refused.add((sender, draft.channel))
        return refusal

    async def _write(self, draft: Entry) -> Outcome:
        channel = self._growth.channels[draft.channel]
        match draft:
            case Revision() | Deletion():
                return await self._change(channel, draft)
            case Reaction():
                return await self._react(channel, draft)
            case Record():
                return self._recording.record(channel, draft)
            case NewMessage():
                raise AssertionError("new messages are not written here")
            case never:
                assert_never(never)

    async def _change(self, channel: Channel, draft: Revision | Deletion) -> Appended:
        id = (draft.channel, draft.id)
        state = self._states.last(id)
        present = None if state is None else self._tallies.present(id, state.change)
        appended = decide(draft, present, channel.next)
        if appended.duplicate:
            return appended
        assert state is not None
        event = appended.event
        assert isinstance(event, MessageEdited | MessageDeleted)
        self._growth.take(channel)
        self._growth.add(channel, event, edit_of=state.created if isinstance(event, MessageEdited) else None)
        self._states.change(id, state, event)
        if isinstance(event, MessageDeleted) and isinstance(present, MessageCreated | MessageEdited):
            self._states.erase(channel, present)
            await self._tallies.drop(id, channel.id, state.created)
        return appended

    async def _react(self, channel: Channel, reaction: Reaction) -> Settled:
        id = (reaction.channel, reaction.id)
        state = self._states.last(id)
        if state is None:
            raise not_found()
        if isinstance(state.change, MessageDeleted):
            raise react_to_deleted()
        tallied = self._tallies.of(id, channel.id, state.created)
        so_far = Position(channel.epoch, max(state.change.offset, tallied.told))
        if self._tallies.has(reaction) == reaction.add:
            return Settled(so_far, None, duplicate=True)
        if reaction.add:
            tallied.check(reaction.emoji)
        before = tallied.count(reaction.emoji)
        told = is_told(before, before + (1 if reaction.add else -1))
        if told:
            self._growth.take(channel)
        await self._tallies.change(tallied, reaction)
        return self._tell(channel, reaction, tallied) if told else Settled(so_far, None, duplicate=False)

    def _tell(self, channel: Channel, reaction: Reaction, tallied: Tallied) -> Settled:
        place = channel.next
        where = (reaction.channel, place.epoch, place.offset, reaction.at)
        event = ReactionChanged(*where, reaction.id, tallied.reactions)
        self._growth.add(channel, event)
        tallied.told = place.offset
        return Settled(place, event, duplicate=False)
