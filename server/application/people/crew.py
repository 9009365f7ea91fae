"""A crew: work for many keys, for a few of them at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger("maru.presence")


class Crew(Generic[K]):
    """Calls `work` for the keys that were put, at most `size` at once, each key by one at a time, in the order in which
    they were put. A key that is put during its work is worked on again."""

    def __init__(self, work: Callable[[K], Awaitable[None]], size: int) -> None:
        self._work = work
        self._size = size
        # Keys to be worked on, the first first. A plain dict would look for its first entry past all that are gone.
        self._due: OrderedDict[K, None] = OrderedDict()
        self._busy: set[K] = set()  # keys that are worked on
        self._changed = asyncio.Event()

    def put(self, key: K) -> None:
        """Let a key be worked on soon."""
        self._due[key] = None
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._changed.wait()
                key = self._next()
                if key is None:
                    self._changed.clear()
                    continue
                del self._due[key]
                self._busy.add(key)
                tasks.create_task(self._do(key))

    def _next(self) -> K | None:
        if len(self._busy) >= self._size:
            return None
        return next((key for key in self._due if key not in self._busy), None)

    async def _do(self, key: K) -> None:
        try:
            await self._work(key)
        except Exception:  # noqa: BLE001  # whatever it is, it costs this key alone
            _log.exception("presence.failed", channel=key)
        finally:
            self._busy.discard(key)
            self._changed.set()
