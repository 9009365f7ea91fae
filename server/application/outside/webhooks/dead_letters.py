"""Dead letters in the hands of operators: they are listed, and sent again."""

import asyncio
from collections.abc import Callable, Mapping

from server.application.outside.webhooks.courier import Clocks, Courier
from server.domain.dispatching import DeadLetter, Replayed
from server.domain.errors import NotFound
from server.domain.webhooks import Outcome
from server.ports.webhooks import Webhooks

MAX_REPLAYED = 100
"""Letters that a call sends again, at most: `more` tells that there are more."""

REPLAY_S = 5.0
"""A call begins no further request after so long."""

ANSWER_S = 9.0
"""A call is answered after so long, though the endpoint hangs: callers wait 10 s."""

_PAGE = 1_000


class DeadLetters:
    """The dead letters of all endpoints."""

    def __init__(self, couriers: Mapping[str, Courier], store: Webhooks, clocks: Clocks) -> None:
        self._couriers = couriers
        self._store = store
        self._clocks = clocks

    async def page(self, endpoint: str, after: str | None, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first. Raises `NotFound` for an unknown endpoint, and `Unavailable`."""
        self._courier(endpoint)
        return list(await self._store.dead(endpoint, after, limit))

    async def replay(self, endpoint: str, wanted: Callable[[DeadLetter], bool]) -> Replayed:
        """Send letters again, oldest first, with the ids that their requests had, and forget those that are taken.

        The channels have gone on meanwhile: letters are not in the channels' order. May run on any replica.
        """
        courier, began = self._courier(endpoint), self._clocks.monotonic()
        replayed = gone = 0
        letters = await self._find(endpoint, wanted)
        for letter in letters[:MAX_REPLAYED]:
            if self._clocks.monotonic() - began > REPLAY_S:
                return Replayed(replayed, gone, more=True)
            try:
                async with asyncio.timeout(began + ANSWER_S - self._clocks.monotonic()):
                    answer = await courier.resend(letter)
            except TimeoutError:  # of the first letter, or of what a later one had left: it will be the first
                failed = None if replayed + gone else Outcome.TIMED_OUT.value
                return Replayed(replayed, gone, failed, more=True)
            if answer is not None and answer.outcome is not Outcome.ACCEPTED:
                return Replayed(replayed, gone, answer.told(), more=True)
            await self._store.take(endpoint, [letter.id])
            gone += answer is None
            replayed += answer is not None
        return Replayed(replayed, gone, more=len(letters) > MAX_REPLAYED)

    async def _find(self, endpoint: str, wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        """Return the letters that are wanted, up to one more than are sent."""
        found, after = list[DeadLetter](), None
        while True:  # an endpoint has a limited number of letters
            page = await self._store.dead(endpoint, after, _PAGE)
            found += [letter for letter in page if wanted(letter)]
            if len(page) < _PAGE or len(found) > MAX_REPLAYED:
                return found[: MAX_REPLAYED + 1]
            after = page[-1].id

    def _courier(self, endpoint: str) -> Courier:
        courier = self._couriers.get(endpoint)
        if courier is None:
            raise NotFound(f"no webhook is named {endpoint[:64]!r}", details={"field": "name"})
        return courier
