"""Messages for users that are offline: those that are mentioned, and those that follow; nobody waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from server.adapters.memory.follows import MemoryFollows
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.online import MemoryOnline
from server.application.outside.webhooks.missing import USERS_LIMIT, Missing
from server.domain.errors import Unavailable
from server.domain.events import MessageCreated
from server.domain.identity import UserId
from server.domain.messages import EVERYBODY
from server.domain.notices import Notice
from server.domain.presence import UserStatus
from tests.doubles.samples import HOUR_MS, ROOM, event
from tests.doubles.virtual_time import virtually

ALICE, BOB, CARL, DORA = (UserId(name) for name in ("alice", "bob", "carl", "dora"))


class FaultyOnline(MemoryOnline):
    """Fails so often first."""

    failures = 0

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        return await super().status(users)


class Stage:
    """Users that follow a room, of whom some are online."""

    def __init__(self, *, wanted: bool = True, limit: int = 9) -> None:
        log = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
        self.follows, self.online, self.kept = MemoryFollows(log), FaultyOnline(), list[Notice]()
        self.missing = Missing(self.follows, self.online, self.kept.append, lambda _: wanted, limit=limit)

    def users(self) -> list[list[UserId]]:
        """The users of the notices."""
        return [list(each.data["users"]) for each in self.kept]


def message(offset: int, *mentions: UserId) -> MessageCreated:
    """Alice has written."""
    created = event(offset)
    return replace(created, message=replace(created.message, mentions=mentions))


def played(scene: Callable[[Stage], Coroutine[Any, Any, None]], *, wanted: bool = True, limit: int = 9) -> None:
    """Play a scene in virtual time."""

    async def play() -> None:
        stage = Stage(wanted=wanted, limit=limit)
        running = asyncio.create_task(stage.missing.run())
        await asyncio.sleep(0)
        await scene(stage)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtually(play)


def test_followers_and_mentioned_users_that_are_offline_are_told() -> None:
    """Each once; neither the author, nor those that are online, nor everybody."""

    async def scene(stage: Stage) -> None:
        for user in (ALICE, BOB, CARL):
            await stage.follows.follow(user, ROOM)
        await stage.online.count({CARL: 1})
        stage.missing.wrote(message(1, EVERYBODY))
        stage.missing.wrote(message(2, DORA, BOB, CARL))
        assert stage.missing.waiting == 2
        await asyncio.sleep(0.1)
        assert stage.users() == [[BOB], [DORA, BOB]]
        assert [each.data["offset"] for each in stage.kept] == [1, 2]

    played(scene)


def test_a_message_that_nobody_misses_is_no_notice() -> None:
    """Nor is an event that is no message, or no event."""

    async def scene(stage: Stage) -> None:
        stage.missing.wrote(message(1))
        stage.missing.wrote(None)
        await asyncio.sleep(0.1)
        await stage.follows.follow(BOB, ROOM)
        await stage.online.count({BOB: 1})
        stage.missing.wrote(message(2))
        await asyncio.sleep(0.1)
        assert stage.kept == []

    played(scene)


def test_a_look_that_fails_is_repeated() -> None:
    """Until it succeeds."""

    async def scene(stage: Stage) -> None:
        stage.online.failures = 3
        stage.missing.wrote(message(1, BOB))
        await asyncio.sleep(1.4)
        assert stage.kept == []
        await asyncio.sleep(0.2)
        assert stage.users() == [[BOB]]

    played(scene)


def test_users_and_messages_are_bounded() -> None:
    """Of a crowd, some are told; of too many messages, the first are dropped and counted."""

    async def scene(stage: Stage) -> None:
        for number in range(USERS_LIMIT + 5):
            await stage.follows.follow(UserId(f"user {number}"), ROOM)
        stage.missing.wrote(message(1, BOB))
        await asyncio.sleep(0.1)
        assert sum(map(len, stage.users())) == USERS_LIMIT
        assert stage.users()[0][0] == BOB
        for number in range(2, 13):
            stage.missing.wrote(message(number))
        assert (stage.missing.waiting, stage.missing.dropped) == (9, 2)

    played(scene)


def test_messages_that_no_endpoint_wants_are_not_looked_at() -> None:
    """They cost nothing."""

    async def scene(stage: Stage) -> None:
        stage.missing.wrote(message(1, BOB))
        assert stage.missing.waiting == 0

    played(scene, wanted=False)
