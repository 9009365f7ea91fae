"""Messages for users that are offline: found behind the writing, which waits for nothing of this."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import LogEvent, MessageCreated
from server.domain.identity import UserId
from server.domain.messages import EVERYBODY
from server.domain.notices import Notice, missed
from server.ports.follows import Follows
from server.ports.presence import ENTRIES_AT_ONCE, Online

MESSAGES_LIMIT = 10_000
"""Messages that wait to be looked at. Over it the first are dropped, and counted."""

USERS_LIMIT = ENTRIES_AT_ONCE
"""Users of a message that are looked at: those that it mentions, then followers of its channel."""

AT_ONCE = 16
"""Messages that are looked at together."""

RETRY_S = 0.5
"""Pause after a look that failed."""


class Missing:
    """Gives `keep` the notices of messages whose users are offline. `wanted` says whether an endpoint is told of such
    messages of a channel."""

    def __init__(
        self,
        follows: Follows,
        online: Online,
        keep: Callable[[Notice], None],
        wanted: Callable[[ChannelName], bool],
        *,
        limit: int = MESSAGES_LIMIT,
    ) -> None:
        self.dropped = 0
        self._follows, self._online, self._keep, self._wanted = follows, online, keep, wanted
        self._waiting: deque[MessageCreated] = deque(maxlen=limit)
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def wrote(self, event: LogEvent | None) -> None:
        """Look at a message that was written, soon. A repeat is looked at again, and its notices are the same."""
        if isinstance(event, MessageCreated) and self._wanted(event.channel):
            self.dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
            self._arrived.set()

    async def run(self) -> None:
        """Look at messages until cancelled."""
        while True:
            while self._waiting:
                taken = min(AT_ONCE, len(self._waiting))
                await asyncio.gather(*[self._look(self._waiting.popleft()) for _ in range(taken)])
            self._arrived.clear()
            await self._arrived.wait()

    async def _look(self, event: MessageCreated) -> None:
        """Keep the notices of a message, however long the stores are away."""
        while True:
            try:
                users = await self._offline(event)
            except MaruError:
                await asyncio.sleep(RETRY_S)
                continue
            for notice in missed(event, users):
                self._keep(notice)
            return

    async def _offline(self, event: MessageCreated) -> Sequence[UserId]:
        author, mentions = event.message.author.id, event.message.mentions
        followers = await self._follows.followers(event.channel, USERS_LIMIT + 1)  # the author may be among them
        users = [user for user in dict.fromkeys((*mentions, *followers)) if user not in (author, EVERYBODY)]
        if not users:
            return ()
        return [each.user for each in await self._online.status(users[:USERS_LIMIT]) if not each.online]
