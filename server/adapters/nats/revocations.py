"""Revocations and denials in NATS, for all replicas: a stream of each kind, a document for each entry."""

import asyncio
from collections.abc import Callable

import orjson

from server.adapters.clock import now_ms
from server.adapters.codec import MAX_TIME_MS
from server.adapters.nats import names
from server.adapters.nats.document import Document
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.adapters.orders import decode_revocation, encode_revocation
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded
from server.domain.identity import UserId
from server.ports.revocations import ENTRIES_LIMIT, Held, Revocations

VERSION = 1
"""Of a denial as JSON: `{v, channel, user, until}`."""

LOAD_S = 20.0
"""Time to read them all, however many there are."""


class NatsRevocations(Revocations):
    """Entries of two streams. An entry is written if its stream has not changed since its room was found."""

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        limit: int = ENTRIES_LIMIT,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._revoked = Documents(link, "revoked", prefix=prefix, replicas=replicas)
        self._denied = Documents(link, "denied", prefix=prefix, replicas=replicas)
        self._limit, self._now_ms, self._adding = limit, now_ms, asyncio.Lock()

    async def add(self, revocation: Revocation) -> None:
        """Hold a revocation. Promises 1, 2, 4."""
        await self._hold(self._revoked, encode_revocation(revocation), revocation.id)

    async def remove(self, id: str) -> bool:
        """Remove the document. Promises 1, 4."""
        found = await self._revoked.get(id)
        while found is not None:
            if await self._revoked.remove(found):
                return _expires_at(found) > self._now_ms()
            found = await self._revoked.get(id)
        return False

    async def deny(self, denial: Denial) -> None:
        """Hold a denial, or end one. Promises 1, 2, 4."""
        parts = (denial.user, denial.channel)
        if denial.expires_at <= self._now_ms():
            await self._denied.purge(*parts)
            return
        fields = {"v": VERSION, "channel": denial.channel, "user": denial.user, "until": denial.expires_at}
        await self._hold(self._denied, orjson.dumps(fields), *parts)

    async def load(self) -> Held:
        """Read both streams. Promises 1, 3-5."""
        now = self._now_ms()
        revocations = [decode_revocation(each.data) for each in await self._revoked.all(seconds=LOAD_S)]
        denials = [_denial(each.data) for each in await self._denied.all(seconds=LOAD_S)]
        return Held(
            [each for each in revocations if each is not None and each.expires_at > now],
            [each for each in denials if each is not None and each.expires_at > now],
        )

    async def _hold(self, entries: Documents, data: bytes, *parts: str) -> None:
        """Write an entry if there is room, when what has expired is gone. Raises `Overloaded`."""
        async with self._adding:  # else the calls of a replica would be in each other's way
            while True:
                state = (await entries.state())["state"]
                if state["messages"] >= self._limit and await entries.get(*parts) is None:
                    if not await self._sweep(entries):
                        raise Overloaded(f"{self._limit} entries are held; lift some, or wait until some have expired")
                elif await entries.put(data, *parts, last=state["last_seq"]) is not None:
                    return

    async def _sweep(self, entries: Documents) -> bool:
        """Remove what has expired; say whether anything has."""
        now = self._now_ms()
        expired = [each for each in await entries.all(seconds=LOAD_S) if _expires_at(each) <= now]
        for each in expired:
            await entries.remove(each)
        return bool(expired)


def _expires_at(document: Document) -> int:
    """Return when an entry of either kind expires: one that can't be read, never."""
    entry = decode_revocation(document.data) or _denial(document.data)
    return MAX_TIME_MS if entry is None else entry.expires_at


def _denial(raw: bytes) -> Denial | None:
    try:
        fields = orjson.loads(raw)
        channel, user, until = ChannelName(str(fields["channel"])), UserId(str(fields["user"])), int(fields["until"])
        return Denial(channel, user, until) if fields["v"] == VERSION and 0 <= until <= MAX_TIME_MS else None
    except (KeyError, TypeError, ValueError):
        return None
