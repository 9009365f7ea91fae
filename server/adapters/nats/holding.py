"""The leases of this replica's entries of presence in NATS, by the server's clock, and the list of its entries.

A lease is a document with the time of its end. The list is in pages, which a dead replica leaves to the others: a page
names channels, or users, in which the holder may have an entry. Only the holder writes its pages.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from zlib import crc32

import orjson

from server.adapters import holding
from server.adapters.nats import names
from server.adapters.nats.document import Document
from server.adapters.nats.documents import NEW, Documents
from server.adapters.nats.link import Link
from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId
from server.ports.replicas import LEASE_S

PAGES = 64
"""Of each list of a holder."""

CLOCK_S = 5.0
"""How long the server's clock is counted on from here, before it is asked again."""

CHANNELS, USERS = "channels", "users"
"""The lists of a holder."""


class Clock:
    """The time of the server, which it writes on each entry."""

    def __init__(self, asked: Documents, name: str, monotonic: Callable[[], float]) -> None:
        self._asked, self._name, self._monotonic = asked, name, monotonic
        self._known: tuple[float, int] | None = None  # when the server was asked, and its time then

    async def ms(self) -> int:
        """Return the time. Raises `Unavailable`."""
        now = self._monotonic()
        if self._known is None or not 0 <= now - self._known[0] < CLOCK_S:
            await self._asked.put(b"?", self._name)
            found = await self._asked.get(self._name)
            if found is None:
                raise Unavailable("NATS has not kept what was written a moment ago")
            self._known = now, found.at_ms
        asked, at_ms = self._known
        return at_ms + round((now - asked) * 1_000)


class Holding(holding.Holding):
    """The lease of a replica, and its lists, in streams under a prefix."""

    def __init__(
        self,
        link: Link,
        id: ReplicaId,
        *,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        lease_s: float = LEASE_S,
        store_ms: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(id, lease_s, store_ms, monotonic)
        self.link, self.prefix, self.replicas = link, prefix, replicas
        self.leases = Documents(link, "leases", prefix=prefix, replicas=replicas)
        self.lists = Documents(link, "lists", prefix=prefix, replicas=replicas)
        self._clock = Clock(Documents(link, "clock", prefix=prefix, replicas=replicas, max_age_s=60), id, monotonic)
        self._pages: dict[tuple[str, str, int], set[str]] = {}  # by holder, list and page; those that are written
        self._writing = asyncio.Lock()

    async def now_ms(self) -> int:
        """Return the store's time. Raises `Unavailable`."""
        return await self._clock.ms() if self.store_ms is None else self.store_ms()

    async def set_leases(self, for_s: float, names: tuple[str, ...], new: str = "") -> dict[str, int]:
        """Write documents."""
        now = await self.now_ms()
        ends = now + round(for_s * 1_000)
        if new:
            await self.leases.put(lease(ends), new, after=NEW)  # a dead one stays dead
        held = await asyncio.gather(*(self._renew(name, now, ends) for name in names))
        return dict(zip(names, held, strict=True))

    async def living(self) -> str:
        """Return the present name, whose lease holds in the store, too. Raises `Unavailable`."""
        name = await self.held()
        found, now = await self.leases.get(name), await self.now_ms()
        ends = None if found is None else ends_at(found)
        if ends is None:  # others remove its entries, or NATS has lost all
            self.lose(name)
        if ends is None or ends <= now:
            raise Unavailable("the lease of this replica has ended")
        return name

    async def list(self, holder: str, kind: str, texts: Iterable[str]) -> None:
        """Write down that the holder may have entries there, before it has. Raises `Unavailable`."""
        async with self._writing:
            changed: dict[int, set[str]] = {}
            for text in texts:
                page = crc32(text.encode()) % PAGES
                if text not in self._pages.get((holder, kind, page), ()):
                    changed.setdefault(page, set()).add(text)
            await asyncio.gather(*(self._write(holder, kind, page, add=more) for page, more in changed.items()))

    async def unlist(self, holder: str, kind: str, texts: Iterable[str]) -> None:
        """Forget that, as far as it was written down: the holder has no entries there. Raises `Unavailable`."""
        async with self._writing:
            changed: dict[int, set[str]] = {}
            for text in texts:
                page = crc32(text.encode()) % PAGES
                if text in self._pages.get((holder, kind, page), ()):
                    changed.setdefault(page, set()).add(text)
            await asyncio.gather(*(self._write(holder, kind, page, drop=gone) for page, gone in changed.items()))

    async def _write(
        self,
        holder: str,
        kind: str,
        page: int,
        *,
        add: frozenset[str] | set[str] = frozenset(),
        drop: set[str] | None = None,
    ) -> None:
        texts = (self._pages.get((holder, kind, page), set()) | add) - (drop or set())
        await self.lists.put(orjson.dumps(sorted(texts)), holder, kind, str(page))
        self._pages[holder, kind, page] = texts

    async def _renew(self, name: str, now: int, ends: int) -> int:
        while (found := await self.leases.get(name)) is not None:
            before = ends_at(found)
            if before is None or before <= now:
                return 0
            if await self.leases.put(lease(ends), name, after=found.place) is not None:
                return 1
        return 0


def lease(ends: int | None) -> bytes:
    """Return a lease as it is written; None: the holder is dead, and its entries are being removed."""
    return orjson.dumps({"ends": ends})


def ends_at(found: Document) -> int | None:
    """Return when a lease ends, None if its holder is dead."""
    ends = orjson.loads(found.data)["ends"]
    return None if ends is None else int(ends)
