"""Dead letters in JetStream: a stream of them, and a subject for each endpoint, which keeps the last so many."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import orjson

from server.adapters.nats.pulling import Raw
from server.adapters.nats.side import Side, token
from server.adapters.nats.streams import StreamGone
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter

MAX_ID = 2**63 - 1


class Letters:
    """The dead letters of all endpoints. The id of a letter is its entry's sequence."""

    def __init__(self, side: Side, limit: int) -> None:
        self._side, self._limit = side, limit
        self.stream = f"{side.prefix}-letters"

    async def add(self, endpoint: str, letter: DeadLetter) -> int:
        """Keep a letter; return its id."""
        fields = [letter.channel, letter.epoch, letter.first, letter.last, letter.reason, letter.failed_at]
        await self._make()
        sent = await self._side.streams.publish(self._subject(endpoint), orjson.dumps(fields), {})
        return await sent

    async def read(self, endpoint: str, above: int, limit: int) -> list[DeadLetter]:
        """Return letters with ids above a number, the first of them."""
        letters: list[DeadLetter] = []
        await self._make()
        async with aclosing(self._side.streams.entries(self.stream, self._subject(endpoint), above + 1)) as found:
            async for raw in found:
                letters.append(_letter(raw))
                if len(letters) == limit:
                    break
        return letters

    async def take(self, endpoint: str, ids: Sequence[int]) -> list[DeadLetter]:
        """Remove letters; return those that were there."""
        taken: list[DeadLetter] = []
        for id in ids:
            try:
                raw = await self._side.streams.get(self.stream, id)
            except StreamGone:
                return taken
            is_own = raw is not None and raw.subject == self._subject(endpoint)
            if raw is not None and is_own and await self._side.streams.erase(self.stream, id):
                taken.append(_letter(raw))
        return taken

    async def forget(self, endpoint: str) -> None:
        """Remove all letters of an endpoint."""
        await self._make()
        await self._side.streams.purge(self.stream, 0, self._subject(endpoint))

    async def _make(self) -> None:
        subject = f"{self._side.prefix}.letters.>"
        await self._side.streams.create(self.stream, subject, max_msgs_per_subject=self._limit)

    def _subject(self, endpoint: str) -> str:
        return f"{self._side.prefix}.letters.{token(endpoint)}"


def _letter(raw: Raw) -> DeadLetter:
    fields: Any = orjson.loads(raw.data)
    channel, epoch, first, last, reason, failed_at = fields
    return DeadLetter(str(raw.seq), ChannelName(channel), epoch, first, last, reason, failed_at)
