"""Reactions in the log's file: written with the drafts of messages, in their transactions."""

import asyncio

from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.appending import Settled
from server.domain.drafts import Reaction
from server.ports.reactions import Reactions


class SqliteReactions(Reactions):
    """The reactions to the messages of a log."""

    def __init__(self, log: SqliteMessageLog) -> None:
        self._log = log

    def react(self, reaction: Reaction) -> asyncio.Future[Settled]:
        return self._log.write(reaction)
