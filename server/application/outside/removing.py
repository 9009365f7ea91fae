"""Orders of backends about users: out of a channel, out altogether, or to refresh their tokens."""

from collections.abc import Callable

from server.application.deadline import deadline
from server.application.outside.revoked_tokens import MS_PER_S
from server.domain.channels import ChannelName
from server.domain.control import Denial, MemberRemoved, RefreshAsked, SessionsEnded
from server.domain.identity import UserId
from server.ports.control import Control
from server.ports.revocations import Revocations

REFRESH_MS = 30 * MS_PER_S
"""Time for a session to refresh its token, once it is asked to."""

MAX_DENY_S = 30 * 24 * 3_600
"""How long a denial may last: 30 days."""


class Removing:
    """The use cases. A user that is not there is no error. `now_ms` is wall-clock time in milliseconds.

    If a use case raises `Unavailable` its change may have been made: the caller tries again.
    """

    def __init__(self, store: Revocations, control: Control, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._control = control
        self._now_ms = now_ms

    async def remove(self, channel: ChannelName, user: UserId, deny_s: int | None = None) -> None:
        """Let a user's sessions leave the channel, and deny it to the user for so many seconds; 0 ends an earlier
        denial, None leaves denials as they are. Raises `Unavailable`, `Overloaded`."""
        until = None
        async with deadline():
            if deny_s is not None:
                until = self._now_ms() + deny_s * MS_PER_S
                await self._store.deny(Denial(channel, user, until))
            await self._control.append(MemberRemoved(channel, user, until))

    async def end(self, user: UserId, *, reconnect: bool = False) -> None:
        """End all sessions of a user; `reconnect`: so that their clients come back. Raises `Unavailable`."""
        async with deadline():
            await self._control.append(SessionsEnded(user, reconnect))

    async def ask(self, user: UserId) -> int:
        """Ask all sessions of a user to refresh their tokens; return when those end that do not, in milliseconds.
        Raises `Unavailable`."""
        now = self._now_ms()
        ends_at = now + REFRESH_MS
        async with deadline():
            await self._control.append(RefreshAsked(user, now, ends_at))
        return ends_at
