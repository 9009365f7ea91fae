"""Erasures in NATS: a document for each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from server.adapters.erasures import decode_erasure, encode_erasure
from server.adapters.nats import names
from server.adapters.nats.document import Document
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, forgettable
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures

PAGE = 500
"""Channels that are given at once."""

Channels = Callable[[], Awaitable[Sequence[ChannelName]]]
"""Returns all channels that ever had an event: the log has no index of authors."""


class NatsErasures(Erasures):
    """Erasures of the messages in `channels`. One is added if the stream has not changed since its room was found."""

    def __init__(
        self,
        link: Link,
        channels: Channels,
        *,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        limit: int = ERASURES_LIMIT,
    ) -> None:
        self._kept = Documents(link, "erasures", prefix=prefix, replicas=replicas)
        self._channels, self._limit, self._adding = channels, limit, asyncio.Lock()

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2, 6."""
        found = await self.find(erasure.id)
        if found is not None:
            return found
        async with self._adding:
            while True:
                await self._forget(erasure.began_at)
                state = (await self._kept.state())["state"]
                if (present := await self._kept.get(erasure.id)) is not None:
                    return _known(present.data)
                if state["messages"] >= self._limit:
                    raise Overloaded(f"{self._limit} erasures are under way; wait until some are done")
                if await self._kept.put(encode_erasure(erasure), erasure.id, last=state["last_seq"]) is not None:
                    return erasure

    async def _forget(self, now: int) -> None:
        """Forget what was done long ago, and the oldest that are done if there are too many."""
        kept = await self._kept.all()
        old = {each.id for each in forgettable(_sorted(kept), now, KEPT_MS, self._limit)}
        for each in kept:
            if each.parts[0] in old:
                await self._kept.remove(each)

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure. Promises 1, 5, 6."""
        found = await self._kept.get(id)
        return None if found is None else decode_erasure(found.data)

    async def all(self) -> Sequence[Erasure]:
        """Return all. Promises 1, 5, 6."""
        return _sorted(await self._kept.all())

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write if nobody else has. Promises 1, 3, 6."""
        found, expected = await self._kept.get(old.id), encode_erasure(old)
        if found is None or found.data != expected:
            return False
        return await self._kept.put(encode_erasure(new), new.id, after=found.place) is not None

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Return a page of all channels, in their order. Promises 4, 6."""
        behind = sorted(channel for channel in await self._channels() if after is None or channel > after)
        page = behind[:PAGE]
        return page, page[-1] if len(behind) > PAGE else None


def _sorted(kept: Sequence[Document]) -> Sequence[Erasure]:
    found = [erasure for each in kept if (erasure := decode_erasure(each.data)) is not None]
    return sorted(found, key=lambda each: (each.began_at, each.id))


def _known(raw: bytes) -> Erasure:
    erasure = decode_erasure(raw)
    if erasure is None:
        raise Unavailable("the erasure with this id was asked for by a newer version of the server")
    return erasure
