"""How many sessions each user has, by holder: a document for each user who is online, and when others were last seen.

JSON: `{holder: sessions, ...}`.
"""

from collections.abc import Sequence

import orjson

from server.adapters.nats.documents import NEW, Documents
from server.adapters.nats.holding import Holding
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import SEEN_S

KNOWN_LIMIT = 50_000
"""Users whose documents are remembered."""


class Sessions:
    """The documents, over the link of `holding`."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._known: dict[UserId, tuple[int, bytes]] = {}  # place and data of documents that were written here
        link, prefix, replicas = holding.link, holding.prefix, holding.replicas
        self._online = Documents(link, "online", prefix=prefix, replicas=replicas)
        self._seen = Documents(link, "seen", prefix=prefix, replicas=replicas, max_age_s=SEEN_S + 3_600)

    async def count(self, user: UserId, holders: Sequence[str], sessions: int | None) -> UserStatus | None:
        """Set the number of the first of some holders, and forget that of the others; None: of all. Return the status
        if the user came online or went offline by that."""
        name = holders[0]

        def change(data: bytes) -> tuple[bytes | None, tuple[int, int]]:
            counts: dict[str, int] = orjson.loads(data) if data else {}
            now = {holder: number for holder, number in counts.items() if holder not in holders}
            if sessions:
                now[name] = sessions
            numbers = sum(counts.values()), sum(now.values())
            if now == counts:
                return None, numbers
            return orjson.dumps(now) if now else b"", numbers

        def told(place: int, data: bytes) -> None:
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            self._known[user] = place, data

        guess = self._known.get(user, (NEW, b""))  # most users are counted by one replica at a time
        before, after = await self._online.change(change, user, guess=guess, told=told)
        if bool(before) == bool(after):
            return None
        at = None if after else await self._holding.now_ms()
        if at is not None:
            await self._seen.put(str(at).encode(), user)
        return UserStatus(user, after > 0, after, at)

    async def tidy(self) -> None:
        """Drop what is left of users that went offline a while ago."""
        await self._online.tidy()

    async def status(self, user: UserId) -> UserStatus:
        """Return the status of a user."""
        found = await self._online.get(user)
        if found is not None:
            number = sum(orjson.loads(found.data).values())
            return UserStatus(user, True, number, None)
        seen = await self._seen.get(user)
        at = None if seen is None else int(seen.data)
        known = at is not None and await self._holding.now_ms() - at <= SEEN_S * 1_000
        return UserStatus(user, False, 0, at if known else None)
