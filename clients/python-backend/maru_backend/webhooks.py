"""Operations on webhooks: the requests that an endpoint did not take."""

from collections.abc import Sequence
from datetime import datetime

from maru_backend import answers
from maru_backend.calls import segment
from maru_backend.operations import Operations, given, timestamp
from maru_backend.values import DeadLetters, Replay


class Webhooks(Operations):
    """Look at dead letters, and send them again."""

    async def read_dead_letters(self, name: str, *, after: str | None = None, limit: int | None = None) -> DeadLetters:
        """List requests to the endpoint `name` that were given up, oldest first, at most 1,000 (by default 100).
        `after` is the `next` of the page before."""
        query = {"after": after, "limit": limit}
        return await self._call("readDeadLetters", "GET", _dead(name), answers.dead_letters, query=query)

    async def replay_dead_letters(
        self,
        name: str,
        *,
        ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Replay:
        """Send requests again, oldest first: those with the `ids`, or those that failed from `since` to `until`.

        A call sends 100 at most, and ends at the first that fails: repeat it while `more` is true and `failed` is None.
        """
        body = given(ids=None if ids is None else list(ids), **{"from": timestamp(since), "to": timestamp(until)})
        return await self._call("replayDeadLetters", "POST", f"{_dead(name)}/replay", answers.replay, body=body)


def _dead(name: str) -> str:
    return f"/webhooks/{segment(name)}/dead"
