"""The lease of a replica, in virtual time."""

import asyncio
from collections.abc import Mapping, Sequence

from server.adapters.memory.replicas import MemoryReplicas
from server.application.life.lease import LEAVE_S, RETRY_S, Lease
from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.replicas import LEASE_S, RENEW_S
from tests.doubles.virtual_time import turns, virtually


class Watched(MemoryReplicas):
    """Notes when it was called; can be away, or hang."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(ReplicaId("a"), version="1", monotonic=self._loop.time)
        self.renewals = list[tuple[float, ReplicaState, Mapping[str, float]]]()
        self.away = self.hangs = False

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        self.renewals.append((self._loop.time(), state, numbers))
        if self.away:
            raise Unavailable("away")
        await super().renew(state, numbers)

    async def leave(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        await super().leave()


class Stage:
    """A replica with a lease that runs."""

    def __init__(self) -> None:
        self.replicas, self.state = Watched(), ReplicaState.STARTING
        self.lease = Lease(self.replicas, lambda: self.state)
        self.running = asyncio.create_task(self.lease.run(lambda: {"sessions": len(self.replicas.renewals)}))

    async def end(self) -> None:
        """Cancel it."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def living(self) -> Sequence[ReplicaRow]:
        """The replicas that live."""
        return await self.replicas.living()


def test_it_renews_in_time() -> None:
    """At once, and every five seconds, with the state and the numbers of the moment."""

    async def scenario() -> None:
        stage = Stage()
        await asyncio.sleep(RENEW_S + 1)
        assert stage.replicas.renewals == [
            (0, ReplicaState.STARTING, {"sessions": 0}),
            (RENEW_S, ReplicaState.STARTING, {"sessions": 1}),
        ]
        stage.state = ReplicaState.DRAINING
        stage.lease.renew_soon()
        await turns(10)
        assert stage.replicas.renewals[2:] == [(RENEW_S + 1, ReplicaState.DRAINING, {"sessions": 2})]
        assert stage.lease.living == 1
        await stage.end()

    virtually(scenario)


def test_a_renewal_that_failed_is_tried_again_soon() -> None:
    """Three may fail before the lease ends."""
    assert RENEW_S * 4 <= LEASE_S

    async def scenario() -> None:
        stage = Stage()
        stage.replicas.away = True
        await asyncio.sleep(2.5 * RETRY_S)
        assert [at for at, *_ in stage.replicas.renewals] == [0, RETRY_S, 2 * RETRY_S]
        assert await stage.living() == []
        stage.replicas.away = False
        await asyncio.sleep(RETRY_S)
        assert len(await stage.living()) == 1
        await stage.end()

    virtually(scenario)


def test_a_replica_that_left_stays_away() -> None:
    """It renews no more; a store that hangs does not hold up the stop."""

    async def scenario() -> None:
        stage, loop = Stage(), asyncio.get_running_loop()
        await turns(10)
        await stage.lease.leave()
        await asyncio.sleep(3 * RENEW_S)
        assert await stage.living() == []
        assert len(stage.replicas.renewals) == 1
        stage.replicas.hangs, began = True, loop.time()
        await stage.lease.leave()
        assert loop.time() - began == LEAVE_S
        await stage.end()

    virtually(scenario)
