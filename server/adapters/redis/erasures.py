"""Erasures in Redis: a HASH of records, and the index of authors that every partition has."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from server.adapters.erasures import decode_erasure, encode_erasure
from server.adapters.redis import keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, forgettable
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures

PAGE = 500
"""Channels that are asked for at once."""


class RedisErasures(Erasures):
    """Over a pipeline that it does not own."""

    def __init__(self, pipeline: Pipeline, *, prefix: str = keys.PREFIX, limit: int = ERASURES_LIMIT) -> None:
        self._pipeline, self._prefix, self._limit = pipeline, prefix, limit
        self._key = keys.erasures(prefix)
        self._swap = Script(pipeline, "keep")

    async def add(self, erasure: Erasure) -> Erasure:
        """Keep the erasure. Promises 1, 2, 6."""
        found = await self.find(erasure.id)
        if found is not None:
            return found
        for old in forgettable(await self.all(), erasure.began_at, KEPT_MS, self._limit):
            await self._swap((self._key,), old.id, encode_erasure(old), "", 0)
        state, present = await self._swap((self._key,), erasure.id, "", encode_erasure(erasure), self._limit)
        if state == b"full":
            raise Overloaded(f"{self._limit} erasures are under way; wait until some are done")
        if state == b"kept":
            return erasure
        return _known(present)

    async def find(self, id: str) -> Erasure | None:
        """Return the erasure. Promises 1, 5, 6."""
        raw = await self._ask("HGET", self._key, id)
        return None if raw is None else decode_erasure(raw)

    async def all(self) -> Sequence[Erasure]:
        """Return all. Promises 1, 5, 6."""
        found = await self._ask("HVALS", self._key)
        kept = [erasure for raw in found if (erasure := decode_erasure(raw)) is not None]
        return sorted(kept, key=lambda each: (each.began_at, each.id))

    async def replace(self, old: Erasure, new: Erasure) -> bool:
        """Write if nobody else has. Promises 1, 3, 6."""
        state, _ = await self._swap((self._key,), old.id, encode_erasure(old), encode_erasure(new), 0)
        return bool(state == b"kept")

    async def channels(self, user: UserId, after: str | None) -> tuple[Sequence[ChannelName], str | None]:
        """Read the index of a partition from behind a member, or the next partitions if it has no more. Promises 4,
        6."""
        number, _, member = (after or "0 ").partition(" ")
        beginning = keys.author(user)
        partition = keys.PARTITIONS[int(number)]
        first = f"({member}" if member else f"[{beginning}"
        # Behind every name of a channel, which is ASCII.
        bounds = (first.encode(), b"[" + beginning.encode() + b"\xff", "LIMIT", 0, PAGE)
        found = [raw.decode() for raw in await self._ask("ZRANGEBYLEX", keys.authors(partition, self._prefix), *bounds)]
        following = f"{number} {found[-1]}" if len(found) == PAGE else f"{int(number) + 1} "
        ends = following == f"{len(keys.PARTITIONS)} "
        return [keys.author_channel(each) for each in found], None if ends else following

    async def _ask(self, *command: str | int | bytes) -> Any:
        try:
            return await self._pipeline.execute(*command)
        except RedisError as error:
            raise Unavailable(f"Redis refuses ({type(error).__name__})") from error


def _known(raw: bytes) -> Erasure:
    erasure = decode_erasure(raw)
    if erasure is None:
        raise Unavailable("the erasure with this id was asked for by a newer version of the server")
    return erasure
