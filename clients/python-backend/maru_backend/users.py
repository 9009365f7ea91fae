"""Operations on users: out of a channel, out altogether, their tokens."""

import asyncio
from datetime import datetime

from maru_backend import answers
from maru_backend.answers import parsed
from maru_backend.calls import Request, new_key, segment
from maru_backend.operations import Operations, given, timestamp
from maru_backend.values import Erasure, Revocation

ERASE_S = 600.0
"""For 100,000 messages of one user, and some more."""

WAIT_S = 5.0
"""So long a request waits for the end of an erasure; the next goes on to wait."""

PAUSE_S = 0.2
"""Between two such requests: a server that stops answers at once."""


class Users(Operations):
    """Remove, end, revoke. Each returns when the order is kept; it takes effect on every replica within a second."""

    async def remove_member(self, channel: str, user: str, *, deny_s: int | None = None) -> None:
        """Remove a user from a channel, and keep them out for `deny_s` seconds (30 days at most; 0 ends an earlier
        denial). A user who is not there is no error."""
        path = f"/channels/{segment(channel)}/members/{segment(user)}"
        await self._do("removeMember", "DELETE", path, query={"deny_s": deny_s})

    async def follow(self, user: str, channel: str) -> None:
        """Let a user follow a channel: it is in their inbox. `conflict`: they follow 1,000 channels."""
        await self._do("follow", "PUT", f"/users/{segment(user)}/channels/{segment(channel)}")

    async def unfollow(self, user: str, channel: str) -> None:
        """Let a user follow a channel no longer."""
        await self._do("unfollow", "DELETE", f"/users/{segment(user)}/channels/{segment(channel)}")

    async def end_sessions(self, user: str, *, reconnect: bool = False) -> None:
        """End all sessions of a user: their clients stay away until people sign in again. With `reconnect` they come
        back at once, each with a new connection. A good token stays good: see `revoke`."""
        query = {"reconnect": "true"} if reconnect else {}
        await self._do("endSessions", "DELETE", f"/users/{segment(user)}/sessions", query=query)

    async def ask_refresh(self, user: str) -> datetime:
        """Let all sessions of a user bring a new token, since what the old says is no longer so. Sessions that have not
        by the time that is returned end."""
        return await self._call("askRefresh", "POST", f"/users/{segment(user)}/refresh", answers.expiry)

    async def erase_messages(self, user: str, *, within: float = ERASE_S, key: str | None = None) -> Erasure:
        """Erase all that a user has written, in all channels, from every store, page and replay.

        Returns when all of it is gone; or after `within` seconds, with `done` false: the server goes on with it, also
        through crashes, and a call with the `key` of the result waits for the same erasure again.
        """
        loop, key = asyncio.get_running_loop(), key or new_key()
        deadline = loop.time() + within
        path, longest = f"/users/{segment(user)}/messages", min(WAIT_S, self._calls.patience.attempt / 2)
        while True:
            wait_s = int(max(0.0, min(longest, deadline - loop.time())))
            request = Request("eraseMessages", "DELETE", path, query={"wait_s": wait_s}, key=key)
            answer = await self._calls.answer(request)
            erasure = parsed(lambda body: Erasure(body["erased"], body["done"], key), answer)
            if erasure.done or loop.time() + PAUSE_S >= deadline:
                return erasure
            await asyncio.sleep(PAUSE_S)

    async def revoke(
        self,
        *,
        user: str | None = None,
        jti: str | None = None,
        issued_before: datetime | None = None,
        ban: bool = False,
    ) -> Revocation:
        """Refuse tokens, and end their sessions: those of `user` that were issued before a time (by default, now), or
        the token `jti`. `ban`: also those that are issued to the user later, until `lift_revocation`."""
        body = given(user=user, jti=jti, issued_before=timestamp(issued_before), ban=ban or None)
        return await self._call("revoke", "POST", "/revocations", answers.revocation, body=body)

    async def read_revocations(self) -> tuple[Revocation, ...]:
        """List the revocations in force, the next to expire first."""
        return await self._call("readRevocations", "GET", "/revocations", answers.revocations)

    async def lift_revocation(self, id: str) -> None:
        """Let the tokens of a revocation be good again. `not_found`: it is not there, or was lifted by an earlier try
        whose answer was lost."""
        await self._do("liftRevocation", "DELETE", f"/revocations/{segment(id)}")
