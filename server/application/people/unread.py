"""How far users have read, and how much they have not: read for many commands at once."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.marks import Announced, Mark, advanced
from server.domain.messages import Position
from server.domain.rings import EncodedEvent, Ring
from server.ports.marks import MANY, Marks

MAX_ADVANCE = 64
"""Events behind a mark's head that are looked at, in some 0.2 ms. If there are more, the mark is read again."""

Done = Callable[[Mark | Exception], None]
"""Takes a mark, or the error that its reading ended with."""

Announce = Callable[[EncodedEvent], Announced | None]
"""Return the message that an event announces; None if it is no creation."""


class Unread:
    """Reads marks. Those of a user that are asked for in one turn of the loop are read together. `tasks` owns the
    reads; `announce` looks into events."""

    def __init__(self, marks: Marks, tasks: asyncio.TaskGroup, announce: Announce) -> None:
        self._marks = marks
        self._tasks = tasks
        self._announce = announce
        self._asked: dict[UserId, dict[ChannelName, list[Done]]] = {}  # in this turn

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work as a task that somebody waits for."""
        self._tasks.create_task(work)

    def ask(self, user: UserId, channel: ChannelName, done: Done) -> None:
        """Read a mark; `done` is called once, in a later turn."""
        asked = self._asked.get(user)
        if asked is None:
            asked = self._asked[user] = {}
            asyncio.get_running_loop().call_soon(self._begin, user)
        asked.setdefault(channel, []).append(done)

    async def mark(self, user: UserId, channel: ChannelName) -> Mark:
        """Read a mark, together with others. Raises `Unavailable`."""
        answer: asyncio.Future[Mark | Exception] = asyncio.get_running_loop().create_future()
        self.ask(user, channel, partial(_resolve, answer))
        outcome = await answer
        if isinstance(outcome, MaruError):
            raise type(outcome)(outcome.message) from outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        """Read the user's marks in so many channels, `MANY` at most. Raises `Unavailable`."""
        return await self._marks.marks(user, channels)

    def at(self, mark: Mark, user: UserId, ring: Ring, position: Position) -> Mark | None:
        """Return the mark with the counts as of a later position; None if the mark has to be read again, since it is
        not known what has happened in between, or if the position is not later."""
        if mark.head == position:
            return mark
        missing = position.offset - mark.head.offset
        if mark.head.epoch != position.epoch or not 0 < missing <= MAX_ADVANCE:
            return None
        events = [event for event in ring.after(mark.head.offset) if event.offset <= position.offset]
        if len(events) < missing or any(event.deletes for event in events):
            return None
        return advanced(mark, user, [found for event in events if (found := self._announce(event))], position)

    def _begin(self, user: UserId) -> None:
        asked = self._asked.pop(user)
        names = iter(asked)
        while part := list(islice(names, MANY)):
            self._tasks.create_task(self._read(user, part, asked))

    async def _read(
        self, user: UserId, channels: Sequence[ChannelName], asked: Mapping[ChannelName, list[Done]]
    ) -> None:
        outcome: Mapping[ChannelName, Mark] | Exception
        try:
            outcome = await self._marks.marks(user, channels)
        except Exception as error:  # noqa: BLE001  # those who wait are told, whatever it is
            outcome = error
        for channel in channels:
            given = outcome if isinstance(outcome, Exception) else outcome[channel]
            for done in asked[channel]:
                done(given)


def _resolve(answer: asyncio.Future[Mark | Exception], outcome: Mark | Exception) -> None:
    if not answer.done():
        answer.set_result(outcome)
