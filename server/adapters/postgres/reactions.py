"""Reactions in the log's database."""

import asyncio

from server.adapters.postgres.message_log import PostgresMessageLog
from server.domain.appending import Settled
from server.domain.drafts import Reaction
from server.ports.reactions import Reactions


class PostgresReactions(Reactions):
    """The reactions to the messages of a log."""

    def __init__(self, log: PostgresMessageLog) -> None:
        self._log = log

    def react(self, reaction: Reaction) -> asyncio.Future[Settled]:
        return self._log.write(reaction)
