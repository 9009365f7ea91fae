"""Asking who is there."""

from collections.abc import Sequence

from maru_backend import answers
from maru_backend.calls import segment
from maru_backend.operations import Operations
from maru_backend.values import Roster, UserStatus


class Presence(Operations):
    """Who is in channels, and online."""

    async def read_presence(self, channel: str) -> Roster:
        """Read who is in a channel: by name up to 500 users, else the 100 that are there longest."""
        return await self._call("readPresence", "GET", f"/channels/{segment(channel)}/presence", answers.roster)

    async def count_present(self, channels: Sequence[str]) -> dict[str, int]:
        """Read how many users are in each of up to 1,000 channels."""
        body = {"channels": [*channels]}
        return await self._call("countPresent", "POST", "/presence", answers.counts, body=body)

    async def read_status(self, users: Sequence[str]) -> tuple[UserStatus, ...]:
        """Read which of up to 1,000 users are online, in their order."""
        return await self._call("readStatus", "POST", "/users/status", answers.statuses, body={"users": [*users]})
