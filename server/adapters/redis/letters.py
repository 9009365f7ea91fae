"""The dead letters of an endpoint: a stream, whose ids Redis gives. An entry has the field `l`, a JSON list."""

import re
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from server.adapters.redis import keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter
from server.domain.errors import BadRequest

_ID = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)

_log = structlog.get_logger("maru.webhooks")


class Letters:
    """Keeps `limit` letters an endpoint."""

    def __init__(self, pipeline: Pipeline, prefix: str, limit: int) -> None:
        self._pipeline, self._prefix, self._limit = pipeline, prefix, limit
        self._take = Script(pipeline, "take")

    async def add(self, endpoint: str, letter: DeadLetter) -> bytes:
        """Keep a letter; return its id."""
        packed = orjson.dumps(
            [letter.channel, letter.epoch, letter.first, letter.last, letter.reason, letter.failed_at]
        )
        key = keys.dead(endpoint, self._prefix)
        id: bytes = await self._pipeline.ask("XADD", key, "MAXLEN", self._limit, "*", "l", packed)
        return id

    async def remove(self, endpoint: str, id: bytes) -> None:
        """Remove a letter."""
        await self._pipeline.ask("XDEL", keys.dead(endpoint, self._prefix), id)

    async def page(self, endpoint: str, after: str | None, limit: int) -> Sequence[DeadLetter]:
        """Return letters, oldest first. Raises `BadRequest`."""
        if after is not None and not _ID.fullmatch(after):
            raise BadRequest("after: expected the id of a dead letter", details={"field": "after"})
        first = "-" if after is None else f"({after}"
        entries = await self._pipeline.ask("XRANGE", keys.dead(endpoint, self._prefix), first, "+", "COUNT", limit)
        return _readable(entries)

    async def take(self, endpoint: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        """Remove letters; return those that were there."""
        wanted = [id for id in ids if _ID.fullmatch(id)]
        if not wanted:
            return []
        return _readable(await self._take((keys.dead(endpoint, self._prefix),), *wanted))


def _readable(entries: Sequence[Any]) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    for id, fields in entries:
        try:
            channel, epoch, first, last, reason, failed_at = orjson.loads(fields[1])
            letters.append(
                DeadLetter(
                    id.decode(),
                    ChannelName(str(channel)),
                    str(epoch),
                    int(first),
                    int(last),
                    str(reason),
                    int(failed_at),
                )
            )
        except (IndexError, TypeError, ValueError):
            _log.warning("webhooks.letter_unreadable", id=id.decode(errors="replace"))
    return letters
