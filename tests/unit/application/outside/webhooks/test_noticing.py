"""Keeping notices: in order, once, through failures, in bounded memory."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

from server.adapters.memory.presence import MemoryPresence
from server.application.outside.webhooks.noticing import Noticing
from server.domain.drafts import Record
from server.domain.errors import MaruError, RateLimited, Unavailable
from server.domain.identity import UserId
from server.domain.notices import MISSED, NAMES
from server.domain.presence import UserStatus
from server.ports.records import Recorded, RecordPage, Records
from tests.doubles.samples import ROOM
from tests.doubles.virtual_time import virtually


class Log(Records):
    """Keeps records, or fails as it is told: once for each error."""

    def __init__(self) -> None:
        self.tried: list[Record] = []
        self.kept: list[Record] = []
        self.errors: list[MaruError] = []

    def record(self, record: Record) -> Awaitable[Recorded]:
        self.tried.append(record)
        answer = asyncio.get_running_loop().create_future()
        if self.errors:
            answer.set_exception(self.errors.pop())
        else:
            self.kept.append(record)
            answer.set_result(None)
        return answer

    async def page(self, *_: Any) -> RecordPage:
        raise AssertionError


def status(number: int, online: bool = True) -> UserStatus:
    """The status of a user with this number."""
    return UserStatus(UserId(f"user {number}"), online, int(online), None)


def noticed(
    scene: Callable[[Noticing, Log], Coroutine[Any, Any, None]], *, wanted: frozenset[str] = NAMES, limit: int = 9
) -> None:
    """Play a scene in virtual time."""

    async def play() -> None:
        log, keys = Log(), count(1)
        noticing = Noticing(log, lambda: 7, lambda: f"k{next(keys)}", wanted=wanted, limit=limit)
        running = asyncio.create_task(noticing.run())
        await scene(noticing, log)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtually(play)


def test_notices_are_kept_in_order() -> None:
    """With the type, the user, and a key each."""

    async def scene(noticing: Noticing, log: Log) -> None:
        noticing.changed(status(1))
        noticing.changed(status(1, online=False))
        await asyncio.sleep(0.1)
        assert [(each.name, each.data, each.key, each.at) for each in log.kept] == [
            ("user.online", {"user": "user 1"}, "k1", 7),
            ("user.offline", {"user": "user 1"}, "k2", 7),
        ]
        noticing.changed(status(2))
        await asyncio.sleep(0.1)
        assert len(log.kept) == 3

    noticed(scene)


def test_what_could_not_be_kept_is_tried_again() -> None:
    """Under the same key, when the log says."""

    async def scene(noticing: Noticing, log: Log) -> None:
        log.errors = [Unavailable("away"), RateLimited("too many", retry_after_ms=3_000)]
        for number in range(3):
            noticing.changed(status(number))
        await asyncio.sleep(2.9)
        assert [each.key for each in log.kept] == ["k3"]
        await asyncio.sleep(0.2)
        assert sorted(each.key or "" for each in log.kept) == ["k1", "k2", "k3"]

    noticed(scene)


def test_too_many_drop_the_first() -> None:
    """And are counted."""

    async def scene(noticing: Noticing, log: Log) -> None:
        for number in range(11):
            noticing.changed(status(number))
        await asyncio.sleep(0.1)
        assert (noticing.dropped, len(log.kept), log.kept[0].data) == (2, 9, {"user": "user 2"})

    noticed(scene)


def test_what_nobody_wants_is_not_kept() -> None:
    """It costs nothing."""

    async def scene(noticing: Noticing, log: Log) -> None:
        noticing.changed(status(1))
        await asyncio.sleep(0.1)
        assert log.tried == []

    noticed(scene, wanted=frozenset({MISSED}))


def test_channels_that_are_occupied_and_vacated_are_noticed() -> None:
    """As the store of rosters tells, in order."""

    async def scene(noticing: Noticing, log: Log) -> None:
        presence = MemoryPresence(lambda _: False)
        hearing = asyncio.create_task(noticing.hear(presence))
        for user in ("alice", "bob"):
            await presence.enter(ROOM, {UserId(user): None})
        assert noticing.waiting == 0
        await presence.leave(ROOM, [UserId("alice"), UserId("bob")])
        await asyncio.sleep(0.1)
        assert [(each.name, each.data["roster"]["version"]) for each in log.kept] == [
            ("channel.occupied", 1),
            ("channel.vacated", 4),
        ]
        hearing.cancel()

    noticed(scene)
