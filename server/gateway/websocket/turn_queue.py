"""A queue that is worked off in small batches, so that a crowd at once does not hold up the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

Item = TypeVar("Item")

_log = structlog.get_logger("maru.connection")


class TurnQueue(Generic[Item]):
    """Calls `step` for each item, in the order of the puts: at most `limit` items in a turn.

    A turn is an iteration of the event loop. If a step raises, the error is logged and the next item is processed.
    """

    def __init__(self, limit: int, step: Callable[[Item], object]) -> None:
        self._limit = limit
        self._step = step
        self._items: deque[Item] = deque()
        self._scheduled = False  # whether a turn is due; a put in the middle of a turn does not schedule another

    def put(self, item: Item) -> None:
        """Add an item. Its step never runs within this call."""
        self._items.append(item)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        for _ in range(min(len(self._items), self._limit)):
            try:
                self._step(self._items.popleft())
            except Exception as error:  # noqa: BLE001  # the other items must not suffer from the fault of this item
                _log.error("step.failed", exc_info=error)
        self._scheduled = False
        if self._items:
            self._schedule()
