"""Reactions in Redis: a kind of draft of the script that appends (react.lua)."""

import asyncio

from server.adapters.redis.message_log import RedisMessageLog
from server.domain.appending import Settled
from server.domain.drafts import Reaction
from server.ports.reactions import Reactions


class RedisReactions(Reactions):
    """The reactions to the messages of a log. They share the log's queue, and its calls of the script."""

    def __init__(self, log: RedisMessageLog) -> None:
        self._log = log

    def react(self, reaction: Reaction) -> asyncio.Future[Settled]:
        return self._log.change(reaction)
