"""Reacting to messages, and taking that back: authorize, write, hint."""

from collections.abc import Callable

from server.application.deadline import deadline
from server.application.messages.writing import Writing
from server.application.outside.denials import Denials
from server.application.people.payloads import React
from server.domain.appending import Settled
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction
from server.domain.identity import Action, Identity, authorize_reaction
from server.domain.messages import MessageId
from server.ports.reactions import Reactions


class Reacting:
    """The reactions of users. `now_ms` is wall-clock time in milliseconds."""

    def __init__(
        self, reactions: Reactions, writing: Writing, now_ms: Callable[[], int], *, denials: Denials | None = None
    ) -> None:
        self._reactions = reactions
        self._writing = writing
        self._now_ms = now_ms
        self._denials = Denials() if denials is None else denials

    async def react(self, identity: Identity, command: React, *, add: bool) -> Settled:
        """Let the user react to a message, or react no longer. The user needs not be in the channel.

        Raises `PermissionDenied`, `NotFound`, `Conflict`, `RateLimited`, `Unavailable`, `Overloaded`. Trying again is
        safe: reactions are a set.
        """
        channel = ChannelName(command.channel)
        self._denials.check(identity, Action.REACT, channel)
        authorize_reaction(identity, channel)
        async with deadline():
            reaction = Reaction(
                channel, MessageId(command.id), command.emoji, identity.user, add=add, at=self._now_ms()
            )
            return await self._writing.finish(self._reactions.react(reaction))
