"""Operations on webhooks: requests that an endpoint did not take."""

from collections.abc import Sequence
from datetime import datetime

from maru_backend import values
from maru_backend.calls import segment
from maru_backend.operations import Operations, given
from maru_backend.values import DeadLetters, Replayed


class Webhooks(Operations):
    """List the dead letters of an endpoint, and send them again."""

    async def read_dead_letters(self, endpoint: str, *, after: str | None = None, limit: int = 100) -> DeadLetters:
        """List requests that were given up, oldest first; `after` is the `next` of the page before."""
        path = f"/webhooks/{segment(endpoint)}/dead"
        query = {"after": after, "limit": limit}
        return await self._call("readDeadLetters", "GET", path, values.dead_letters, query=query)

    async def replay_dead_letters(
        self,
        endpoint: str,
        *,
        ids: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Replayed:
        """Send requests again: those with `ids` (100 at most), or those that were given up from `start` on and before
        `end`. Call it again while there are `more`, unless one `failed`."""
        times = {"from": None if start is None else start.isoformat(), "to": None if end is None else end.isoformat()}
        body = given(ids=None if ids is None else list(ids), **times)
        path = f"/webhooks/{segment(endpoint)}/dead/replay"
        return await self._call("replayDeadLetters", "POST", path, values.replayed, body=body)
