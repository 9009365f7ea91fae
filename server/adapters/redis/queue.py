"""What waits for Redis, in order. It is sent at once if no round trip is under way, and else with the next, so that
under load a round trip carries hundreds."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from server.adapters.redis.exchange import Exchange
from server.adapters.redis.master import NotKept
from server.domain.errors import MaruError, Overloaded, Unavailable

WAITING_LIMIT = 10_000
"""Items that may wait. Over this number, `Overloaded`: the item was not sent."""

CROWDED = WAITING_LIMIT // 4
"""Items that wait from which on a client should wait for an outcome before it submits more: so there is room for one of
each client, however many."""

BATCH_LIMIT = 256
"""Items in a round trip: some milliseconds of Redis' time, so that other replicas are served between."""

QUEUE_S = 1.4
"""An item that has waited longer than this in the queue is not sent."""

ROUND_TRIP_S = 1.0
"""A round trip takes at most this time, with connecting; less if its oldest item has waited."""

ANSWER_S = 1.8
"""From the call to its answer or error: below the 2 s that a client may be kept waiting."""

_log = structlog.get_logger("maru.redis")


class Waiting(Protocol):
    """An item of a queue."""

    since: float
    """When it came, on the loop's clock."""

    def fail(self, error: MaruError) -> None:
        """Give the caller a copy of the error. The item was in the queue."""
        ...

    def refuse(self, error: MaruError) -> None:
        """Give the caller the error. The item was not let in."""
        ...


Item = TypeVar("Item", bound=Waiting)


class Queue(ABC, Generic[Item]):
    """Sends items in order by `exchange`, which it owns. Close it by `aclose`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._waiting: deque[Item] = deque()  # not sent yet
        self._flusher: asyncio.Task[None] | None = None  # runs while items wait
        self._closed = False
        self.round_trip_s = ROUND_TRIP_S

    @property
    def crowded(self) -> bool:
        """Whether a part of the items that may wait do so: then each client is to have one under way."""
        return len(self._waiting) >= CROWDED

    def put(self, item: Item) -> None:
        """Give the item its place in the order, or let it fail."""
        if self._closed:
            item.refuse(Unavailable("the server is stopping"))
        elif len(self._waiting) >= WAITING_LIMIT:
            item.refuse(Overloaded(f"{WAITING_LIMIT} commands wait for Redis"))
        else:
            self._waiting.append(item)
            if self._flusher is None:
                self._flusher = asyncio.get_running_loop().create_task(self._flush())

    def stop(self) -> None:
        """Let no item in any more."""
        self._closed = True

    async def aclose(self) -> None:
        """Fail the items that wait, let the round trip under way end, close the connection."""
        self.stop()
        _fail(self._all(), Unavailable("the server is stopping"))
        if self._flusher is not None:
            await self._flusher
        await self._exchange.aclose()

    @abstractmethod
    async def _send(self, batch: Sequence[Item], deadline: float) -> None:
        """Make a round trip, and give each caller its answer. Raises as `Exchange.round_trip`."""

    def begin(self) -> None:
        """Begin another batch."""

    def problem(self, item: Item, oldest: float) -> MaruError | None:
        """Return why the item must not be sent any more."""
        if item.since < oldest:
            return Overloaded(f"the queue to Redis is full: not sent within {QUEUE_S} s")
        return None

    def take(self, item: Item) -> bool:
        """Take an item into the batch; return False if it has no room."""
        return True

    async def _flush(self) -> None:
        batch: list[Item] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._round_trip(batch)
                    batch = []
        except Exception:  # noqa: BLE001 - our own fault: log it, and let nobody wait for ever
            _log.exception("redis.pipeline_failed")
        finally:
            self._flusher = None
            _fail([*batch, *self._all()], Unavailable("the commands to Redis were given up"))

    def _next_batch(self) -> list[Item]:
        oldest = asyncio.get_running_loop().time() - QUEUE_S
        batch: list[Item] = []
        self.begin()
        while self._waiting and len(batch) < BATCH_LIMIT:
            item = self._waiting[0]
            problem = self.problem(item, oldest)
            if problem is None and not self.take(item):
                break
            self._waiting.popleft()
            if problem is None:
                batch.append(item)
            else:
                item.fail(problem)
        return batch

    async def _round_trip(self, batch: Sequence[Item]) -> None:
        deadline = min(asyncio.get_running_loop().time() + self.round_trip_s, batch[0].since + ANSWER_S)
        try:
            await self._send(batch, deadline)
        except Unavailable as error:
            # If Redis is away, the items that wait would fail in the same way, only later.
            behind = () if isinstance(error.__cause__, NotKept) else self._all()
            _fail([*batch, *behind], error)

    def _all(self) -> list[Item]:
        """Take out everything that waits."""
        waiting = [*self._waiting]
        self._waiting.clear()
        return waiting


def _fail(items: Iterable[Waiting], error: MaruError) -> None:
    for item in items:
        item.fail(error)


def copy_of(error: MaruError) -> MaruError:
    """Return a new error for another caller: it carries a traceback."""
    copied = type(error)(error.message)
    copied.__cause__ = error.__cause__
    return copied
