"""Counting the sessions of users: batched, with a linger, and again after a loss."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from server.application.people.online import LINGER_S, Counting
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import ENTRIES_AT_ONCE, Online, RostersLost
from tests.doubles.virtual_time import virtually

ANNA, BERT = UserId("anna"), UserId("bert")
SOON_S = 0.3


class Store(Online):
    """Notes what is counted. While `away` it fails."""

    def __init__(self) -> None:
        self.calls: list[Mapping[UserId, int]] = []
        self.numbers: Counter[UserId] = Counter()
        self.away = False
        self.lost: asyncio.Queue[UserStatus | RostersLost] = asyncio.Queue()

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        if self.away:
            raise Unavailable("away")
        self.calls.append(dict(sessions))
        changed = [
            UserStatus(user, number > 0, number, None)
            for user, number in sessions.items()
            if (number > 0) != (self.numbers[user] > 0)
        ]
        self.numbers.update({user: number - self.numbers[user] for user, number in sessions.items()})
        return changed

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        return [UserStatus(user, self.numbers[user] > 0, self.numbers[user], None) for user in users]

    async def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        while True:
            yield await self.lost.get()


class Stage:
    """A replica with sessions."""

    def __init__(self) -> None:
        self.store, self.sessions, self.told = Store(), Counter[UserId](), list[tuple[UserId, bool]]()
        clock = asyncio.get_running_loop().time
        self.counting = Counting(self.store, self.sessions.__getitem__, clock, self.tell)

    def tell(self, status: UserStatus) -> None:
        self.told.append((status.user, status.online))

    def open(self, user: UserId) -> None:
        self.sessions[user] += 1
        self.counting.changed(user)

    def close(self, user: UserId) -> None:
        self.sessions[user] -= 1
        self.counting.changed(user)


def staged(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Play a scene in virtual time."""

    async def play() -> None:
        stage = Stage()
        loops = [asyncio.create_task(loop) for loop in stage.counting.loops()]
        await scene(stage)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    virtually(play)


def test_users_are_counted_together() -> None:
    """Those that came in the same moment in a call, at most as many as a call may have."""

    async def scene(stage: Stage) -> None:
        many = [UserId(f"user {number}") for number in range(ENTRIES_AT_ONCE + 1)]
        for user in (*many, many[0]):
            stage.open(user)
        assert stage.counting.waiting == len(many)
        await asyncio.sleep(SOON_S)
        assert [len(call) for call in stage.store.calls] == [ENTRIES_AT_ONCE, 1]
        assert (stage.store.numbers[many[0]], len(stage.told)) == (2, len(many))

    staged(scene)


def test_a_user_lingers() -> None:
    """Who comes back in time was not away; who does not is offline after that, once."""

    async def scene(stage: Stage) -> None:
        stage.open(ANNA)
        stage.open(BERT)
        await asyncio.sleep(SOON_S)
        stage.close(ANNA)
        stage.close(BERT)
        await asyncio.sleep(LINGER_S - SOON_S)
        stage.open(ANNA)
        assert stage.told == [(ANNA, True), (BERT, True)]
        await asyncio.sleep(2 * SOON_S)
        assert stage.told[2:] == [(BERT, False)]
        await asyncio.sleep(2 * LINGER_S)
        assert (len(stage.told), stage.store.numbers[ANNA]) == (3, 1)

    staged(scene)


def test_a_further_device_is_counted_at_once() -> None:
    """And its end, too: the user is online all the time."""

    async def scene(stage: Stage) -> None:
        for change, number in ((stage.open, 1), (stage.open, 2), (stage.close, 1)):
            change(ANNA)
            await asyncio.sleep(SOON_S)
            assert stage.store.numbers[ANNA] == number
        assert stage.told == [(ANNA, True)]

    staged(scene)


def test_a_user_that_comes_and_goes_in_a_moment_is_not_counted() -> None:
    """It is neither online nor, later, offline."""

    async def scene(stage: Stage) -> None:
        stage.open(ANNA)
        stage.close(ANNA)
        await asyncio.sleep(LINGER_S + SOON_S)
        assert (stage.told, stage.store.numbers[ANNA]) == ([], 0)

    staged(scene)


def test_what_fails_is_done_later() -> None:
    """As it is by then."""

    async def scene(stage: Stage) -> None:
        stage.store.away = True
        stage.open(ANNA)
        await asyncio.sleep(SOON_S)
        stage.open(ANNA)
        await asyncio.sleep(3.0)
        assert stage.counting.waiting == 1
        stage.store.away = False
        await asyncio.sleep(1.0)
        assert stage.store.numbers[ANNA] == 2

    staged(scene)


def test_all_are_counted_again_after_a_loss() -> None:
    """Also those that linger, of whom the store is not told a wrong number."""

    async def scene(stage: Stage) -> None:
        stage.open(ANNA)
        stage.open(BERT)
        await asyncio.sleep(SOON_S)
        stage.store.numbers.clear()
        stage.store.lost.put_nowait(RostersLost())
        await asyncio.sleep(SOON_S)
        assert stage.store.numbers == {ANNA: 1, BERT: 1}
        stage.close(BERT)
        await asyncio.sleep(LINGER_S + SOON_S)
        stage.store.calls.clear()
        stage.store.lost.put_nowait(RostersLost())
        await asyncio.sleep(SOON_S)
        assert stage.store.calls == [{ANNA: 1}]

    staged(scene)


def test_users_of_a_dead_replica_are_told() -> None:
    """By the replica that removed them."""

    async def scene(stage: Stage) -> None:
        stage.store.lost.put_nowait(UserStatus(BERT, online=False, sessions=0, last_seen=1))
        await asyncio.sleep(SOON_S)
        assert stage.told == [(BERT, False)]

    staged(scene)
