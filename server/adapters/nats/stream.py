"""A stream of entries, made when it is missed."""

import asyncio
import base64
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from nats.errors import NoRespondersError

from server.adapters.nats import names
from server.adapters.nats.answers import Refused, answer
from server.adapters.nats.document import Document, milliseconds
from server.adapters.nats.link import Link
from server.domain.errors import Unavailable

STREAM_MISSING, NOT_FOUND, STALE, IN_USE, OVERLAP, TOO_FEW = 10059, 10037, 10071, 10058, 10065, 10074
"""The server's codes."""

THERE = frozenset((IN_USE, OVERLAP))
"""With which it refuses to make a stream that is there: as another version makes it, or while somebody makes it."""

TRIES = 10
PAUSE_S = 0.02
"""Of calls to a stream that was just made: while somebody else makes it, it may not listen yet."""


class Entries:
    """The entries of a stream `prefix-name`, with the subjects `prefix.name.>`."""

    def __init__(self, link: Link, name: str, prefix: str, replicas: int, max_age_s: float, keeps: int | None) -> None:
        self.stream, self._subject, self._link = f"{prefix}-{name}", f"{prefix}.{name}", link
        self._config = {
            "name": self.stream,
            "subjects": [f"{self._subject}.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "num_replicas": replicas,
            "max_msgs": -1 if keeps is None else keeps,
            "max_msgs_per_subject": 1 if keeps is None else -1,
            "max_bytes": -1,
            "max_age": round(max_age_s * 1_000_000_000),
            "duplicate_window": min(120_000_000_000, round(max_age_s * 1_000_000_000) or 120_000_000_000),
        }
        self._used = False  # whether the stream is known to have had entries

    async def delete(self) -> None:
        """Remove the stream, if it is there."""
        with contextlib.suppress(Refused):
            await answer(self._link, f"$JS.API.STREAM.DELETE.{self.stream}", b"", {})

    async def state(self) -> dict[str, Any]:
        """Return the server's account of the stream: `created`, and `state`."""
        return await self.ask(f"STREAM.INFO.{self.stream}", {})

    async def next(self, place: int) -> Document | None:
        """Return the first entry at a place or behind it."""
        try:
            found = await self.entry({"seq": place, "next_by_subj": f"{self._subject}.>"})
        except Refused as refused:
            raise Unavailable(f"NATS refuses to read ({refused})") from refused
        if found is None:
            return None
        return Document(found["seq"], (), base64.b64decode(found.get("data", "")), milliseconds(found["time"]))

    async def entry(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return an entry as the server tells it, if there is one. Raises `Refused`."""
        if not await self.used():
            return None
        try:
            found: dict[str, Any] = (await self.ask(f"STREAM.MSG.GET.{self.stream}", wanted))["message"]
        except Refused as refused:
            if refused.code == NOT_FOUND:
                return None
            raise
        return found

    async def used(self) -> bool:
        """Return whether the stream has ever had an entry.

        To be asked before an entry is asked for: nats-server 2.9 ends with a nil pointer if somebody is making the
        stream at that moment. Asked for the stream itself it answers that nothing is in it.
        """
        if not self._used:
            self._used = (await self.state())["state"]["last_seq"] > 0
        return self._used

    async def ask(self, call: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Call JetStream's interface. Raises `Refused`."""
        return await self._request(f"$JS.API.{call}", orjson.dumps(wanted), {})

    async def _request(self, subject: str, data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Ask; if the stream is missing, make it first."""
        try:
            return await answer(self._link, subject, data, headers)
        except (NoRespondersError, Refused) as error:
            if isinstance(error, Refused) and error.code != STREAM_MISSING:
                raise
        self._used = False
        await self.make()
        for _ in range(TRIES):
            try:
                return await answer(self._link, subject, data, headers)
            except NoRespondersError:
                await asyncio.sleep(PAUSE_S)
            except Refused as refused:
                if refused.code != STREAM_MISSING:
                    raise
                raise Unavailable(f"NATS does not make the stream {self.stream}") from refused
        raise Unavailable("NATS has no JetStream yet")

    async def refusal(self) -> str | None:
        """Return why NATS will not make the stream until somebody changes one of the two; None if it does, or is only
        away."""
        try:
            await answer(self._link, f"$JS.API.STREAM.CREATE.{self.stream}", orjson.dumps(self._config), {})
        except Refused as refused:
            return str(refused) if refused.code == TOO_FEW else None
        except (NoRespondersError, Unavailable):
            return None
        return None

    async def make(self) -> None:
        """Make the stream, unless it is there."""
        try:
            await answer(self._link, f"$JS.API.STREAM.CREATE.{self.stream}", orjson.dumps(self._config), {})
        except Refused as refused:
            if refused.code not in THERE:
                raise Unavailable(f"NATS refuses to make a stream ({refused})") from refused
        except NoRespondersError as error:
            raise Unavailable("NATS has no JetStream yet") from error

    def _at(self, parts: Sequence[str]) -> str:
        """Return the subject of a document."""
        return ".".join((self._subject, *map(names.escaped, parts)))
