"""Reactions to messages, kept with the log of their channel."""

from collections.abc import Awaitable
from typing import Protocol

from server.domain.appending import Settled
from server.domain.drafts import Reaction


class Reactions(Protocol):
    """The reactions of each message: for each emoji the users that react with it. Implemented beside a `MessageLog`, in
    the same store.

    1. A set: after `react` with `add`, the user is among those that react to the message with the emoji, without it,
       the user is not; whatever the order and the number of calls, on any replica.
    2. Events: the change, and the `ReactionChanged` that tells of it, are one step, durable as an append is. The event
       is in the log (its offset, its rate, its webhooks, its hint as for an append) exactly if `reactions.is_told`; it
       has the whole state: emojis by the first reaction that is still there, users earliest first.
    3. Nothing is written, and `duplicate` is set, if the user's reaction is as wanted. `position` is then that of the
       last event of the message (its creation, an edit, a `ReactionChanged`); the same after a change without event.
    4. Refusals: `NotFound` for an unknown message, `Conflict` for a deleted message, for an emoji beyond `MAX_EMOJIS`
       and for a reaction beyond `MAX_REACTORS`. A removal is never refused for a bound.
    5. `MessageLog.message` and `history` give messages with their reactions as of now, and a `MessageEdited` has those
       of its moment. Reactions go with their message: at its deletion, and with its creation at the end of retention.
    6. `Unavailable`, `Overloaded`, `RateLimited` as for an append; trying again is safe.
    """

    def react(self, reaction: Reaction) -> Awaitable[Settled]:
        """Let a user react, or react no longer. Promises 1-4, 6."""
        ...
