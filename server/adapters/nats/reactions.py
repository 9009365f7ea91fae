"""Reactions in JetStream: entries of their channel's stream, with an event or without."""

import asyncio

from server.adapters.nats.message_log import NatsMessageLog
from server.domain.appending import Settled
from server.domain.drafts import Reaction
from server.ports.reactions import Reactions


class NatsReactions(Reactions):
    """The reactions to the messages of a log."""

    def __init__(self, log: NatsMessageLog) -> None:
        self._log = log

    def react(self, reaction: Reaction) -> asyncio.Future[Settled]:
        return self._log.write(reaction)
