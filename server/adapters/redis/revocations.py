"""Revocations and denials in Redis, for all replicas. They expire by Redis' clock."""

import asyncio
from collections.abc import Callable
from itertools import starmap

from redis.exceptions import ResponseError

from server.adapters.clock import now_ms
from server.adapters.codec import MAX_TIME_MS
from server.adapters.orders import decode_revocation, encode_revocation
from server.adapters.redis import keys, ways
from server.adapters.redis.master import Master
from server.adapters.redis.scripts import Script
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded, Unavailable
from server.ports.revocations import ENTRIES_LIMIT, Held, Revocations

PAGE = 1_000
"""Entries that are read at once: Redis serves others in between."""

LOAD_S = 20.0
"""Time to read them all, however many there are and however far Redis is; each page has 2 s."""

_NO_ROOM = -1


class RedisRevocations(Revocations):
    """Entries over Redis 7. `url` is that of `link.connect`; `master` is shared with the other connections of the
    process. A change is over once `wait_replicas` have it. Close it by `aclose`."""

    def __init__(
        self,
        url: str,
        master: Master | None = None,
        *,
        prefix: str = keys.PREFIX,
        wait_replicas: int = 0,
        limit: int = ENTRIES_LIMIT,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._pipeline = ways.pipeline(url, master or Master(), wait_replicas)
        self._hold = Script(self._pipeline, "hold")
        self._revoked, self._denied = keys.revoked(prefix), keys.denied(prefix)
        self._limit = limit  # of each kind
        self._now_ms = now_ms

    async def aclose(self) -> None:
        """Close the connection."""
        await self._pipeline.aclose()

    async def add(self, revocation: Revocation) -> None:
        """Call a script."""
        await self._put(self._revoked, revocation.id, encode_revocation(revocation), revocation.expires_at)

    async def remove(self, id: str) -> bool:
        """Call a script."""
        return bool(await self._put(self._revoked, id, b"", 0))

    async def deny(self, denial: Denial) -> None:
        """Call a script."""
        until = denial.expires_at if denial.expires_at > self._now_ms() else 0
        name = keys.denial(denial.user, denial.channel)
        await self._put(self._denied, name, str(until).encode() if until else b"", until)

    async def load(self) -> Held:
        """Read page by page. An entry that comes or goes meanwhile may be among them or not."""
        try:
            async with asyncio.timeout(LOAD_S):
                revoked, denied = await self._read(self._revoked[0]), await self._read(self._denied[0])
        except TimeoutError as error:
            raise Unavailable(f"Redis did not give all revocations within {LOAD_S:.0f} s") from error
        return await asyncio.to_thread(_held, revoked, denied, self._now_ms())

    async def _put(self, names: tuple[str, str], name: str, entry: bytes, expires_at: int) -> int:
        result = int(await self._hold(names, name, entry, expires_at, self._limit))
        if result == _NO_ROOM:
            raise Overloaded(f"{self._limit} entries are held; lift some, or wait until some have expired")
        return result

    async def _read(self, key: str) -> dict[bytes, bytes]:
        """Return all fields of a hash. Each that is there all the time is among them."""
        found: dict[bytes, bytes] = {}
        cursor = b"0"
        while True:
            try:
                cursor, fields = await self._pipeline.execute("HSCAN", key, cursor, "COUNT", PAGE)
            except ResponseError as error:
                raise Unavailable(f"Redis refuses ({type(error).__name__})") from error
            found.update(zip(fields[::2], fields[1::2], strict=True))
            if cursor == b"0":
                return found


def _held(revoked: dict[bytes, bytes], denied: dict[bytes, bytes], now: int) -> Held:
    revocations, denials = map(decode_revocation, revoked.values()), starmap(_denial, denied.items())
    return Held(
        [each for each in revocations if each is not None and each.expires_at > now],
        [each for each in denials if each is not None and each.expires_at > now],
    )


def _denial(name: bytes, until: bytes) -> Denial | None:
    try:
        user, channel = keys.denied_member(name.decode())
        expires_at = int(until)
    except ValueError:
        return None
    return Denial(channel, user, expires_at) if expires_at <= MAX_TIME_MS else None
