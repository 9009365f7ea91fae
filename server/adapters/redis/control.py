"""The list of orders in Redis: a stream that each replica reads from its own place, on a connection of its own.

No subscription is needed, so a replica hears every order whatever happens to pub/sub, and to its connections in
between. An order carries a random nonce: an append whose answer was lost is repeated, and heard once all the same.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError, ResponseError

from server.adapters.orders import encode_order
from server.adapters.redis import keys, ways
from server.adapters.redis.connection import Command
from server.adapters.redis.heard import HeardOrders, has_lost
from server.adapters.redis.master import Master
from server.domain.control import Heard, Order, Resync
from server.domain.errors import MaruError, Unavailable
from server.ports.control import ORDERS_LIMIT, Control

BLOCK_MS = 250
"""How long Redis waits for an order before it answers that there is none."""

PAGE = 500
"""Orders that are read at once."""

ANSWER_S = 0.9
"""How long Redis may take to answer, beside `BLOCK_MS`."""

RETRY_S = 0.02
RETRY_CAP_S = 0.2
"""Pauses between tries to read, and between tries to append. An order is to be heard within a second, even if each
connection lives a tenth of that."""

APPEND_S = 1.8
"""In which an order is appended, with all tries: below the 2 s that a caller may be kept waiting."""

NONCE_BYTES = 8

_log = structlog.get_logger("maru.redis")


class RedisControl(Control):
    """Orders over Redis 7. `url` is that of `link.connect`; `master` is shared with the other connections of the
    process. An append is over once `wait_replicas` have it. Close it by `aclose`."""

    def __init__(
        self,
        url: str,
        master: Master | None = None,
        *,
        prefix: str = keys.PREFIX,
        wait_replicas: int = 0,
        limit: int = ORDERS_LIMIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        master = master or Master()
        self._key, self._limit, self._monotonic = keys.control(prefix), limit, monotonic
        self._reads = ways.exchange(url, master)
        self._appends = ways.pipeline(url, master, wait_replicas)
        self._away = False  # the last try to read has failed
        self._read_at = monotonic()  # when the list was last read to its end

    async def aclose(self) -> None:
        """Close the connections. Nobody may listen any more."""
        await self._appends.aclose()
        await self._reads.aclose()

    @property
    def age_s(self) -> float:
        """Seconds since the list was last read to its end."""
        return self._monotonic() - self._read_at

    async def append(self, order: Order) -> None:
        """Append, again and again until Redis confirms it or the time is over. Promises 1, 2, 4."""
        bounded = ("MAXLEN", "~", self._limit)
        entry = ("n", secrets.token_hex(NONCE_BYTES), "o", encode_order(order))
        ends_at, pause = self._monotonic() + APPEND_S, RETRY_S
        while True:
            try:
                async with asyncio.timeout(ends_at - self._monotonic()):
                    await self._appends.execute("XADD", self._key, *bounded, "*", *entry)
            except (TimeoutError, MaruError, ResponseError) as error:
                if self._monotonic() + pause >= ends_at:
                    raise Unavailable("the order could not be given: Redis does not take it") from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP_S)
            else:
                return

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield `Resync`, then the orders; an outage of Redis is waited for. Promises 1-3, 5, 6."""
        heard, pause = HeardOrders(), RETRY_S
        while True:
            try:
                page = await self._page(heard)
            except Unavailable as error:
                self._tell_of_outage(error)
                heard.interrupt()
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP_S)
                continue
            self._away, pause, read_at = False, RETRY_S, self._monotonic()
            for item in page:
                yield item
            if heard.at_end:
                self._read_at = read_at

    async def _page(self, heard: HeardOrders) -> Sequence[Heard]:
        """Return the next items. Raises `Unavailable`."""
        if not heard.begun:
            heard.begin(await self._info())
            return [Resync()]
        if not heard.unsure:
            stands, entries = await self._read(heard)
            if stands:
                return heard.take(entries, PAGE)
        info = await self._info()
        heard.step_back(info)
        return [Resync(lost=has_lost(info, self._limit))]

    async def _info(self) -> Any:
        """Return what Redis says about the stream; None if there is none. Raises `Unavailable`."""
        (info,) = await self._round_trip(("XINFO", "STREAM", self._key), wait_ms=0)
        if isinstance(info, ResponseError):
            if "no such key" not in str(info):
                raise Unavailable("Redis refuses to tell of the orders") from info
            return None
        return info

    async def _read(self, heard: HeardOrders) -> tuple[bool, Sequence[Any]]:
        """Return whether the last entry that was heard still stands there, and the entries behind it; at the end, wait
        for them. Raises `Unavailable`."""
        place = f"{heard.place[0]}-{heard.place[1]}"
        block = ("BLOCK", BLOCK_MS) if heard.at_end else ()
        # Looked for after the read: entries that were trimmed before it are missed then.
        read, found = await self._round_trip(
            ("XREAD", "COUNT", PAGE, *block, "STREAMS", self._key, place),
            ("XRANGE", self._key, place, place),
            wait_ms=BLOCK_MS,
        )
        for answer in (read, found):
            if isinstance(answer, RedisError):
                raise Unavailable(f"Redis refuses to read orders ({type(answer).__name__})") from answer
        entries = read[0][1] if read else ()
        return bool(found) or not heard.anchored, entries

    async def _round_trip(self, *commands: Command, wait_ms: int) -> list[Any]:
        deadline = asyncio.get_running_loop().time() + ANSWER_S + wait_ms / 1000
        return await self._reads.round_trip(commands, deadline)

    def _tell_of_outage(self, error: Unavailable) -> None:
        """Log that the orders can't be read; tries that fail after it are not logged."""
        if not self._away:
            self._away = True
            _log.warning("control.away", problem=str(error))
