"""Waiting until everything that was published so far has been read. Callers at the same time share a question."""

import asyncio
from collections.abc import Iterable, Mapping

from server.adapters.kafka.ends import Ends
from server.adapters.kafka.reader import Reader
from server.domain.errors import Unavailable

READ_S = 1.5
"""The reader's time to get as far as the partitions' ends."""


class Behind(Unavailable):
    """The reader has not got so far in time."""


class Fence:
    """Asks where partitions end, and waits until the reader is there. `moved` tells that the reader has read on."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self.reader: Reader | None = None
        """None while nobody reads."""
        self._asked: set[int] = set()  # partitions of the next question
        self._next: asyncio.Task[None] | None = None  # the next question, which has not begun
        self._one = asyncio.Lock()  # a question at a time
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Look again at the places."""
        self._moved.set()

    async def reached(self, partitions: Iterable[int]) -> None:
        """Return once the records are read that were in these partitions at the call. Raises `Unavailable`."""
        self._asked.update(partitions)
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def _ask(self) -> None:
        async with self._one:
            asked, self._asked, self._next = self._asked, set(), None
            if self.reader is None:
                raise Unavailable("Kafka is not read")
            ends = await self._ends.of(asked)
        await self._until(ends)

    async def _until(self, ends: Mapping[int, int]) -> None:
        reader = self.reader
        if reader is None:
            raise Unavailable("Kafka is not read")
        reader.waited_for += 1
        try:
            async with asyncio.timeout(READ_S):
                while any(reader.places[number] < end for number, end in ends.items()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise Behind("Kafka's hints are read too slowly") from error
        except KeyError as error:
            raise Unavailable("Kafka's partitions have changed") from error
        finally:
            reader.waited_for -= 1


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Take the error of a question that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
