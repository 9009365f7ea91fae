"""The users for whom nothing is granted in some channels, whatever their tokens say, in the memory of this replica."""

from collections.abc import Callable, Iterable

from server.application.turn import in_turns
from server.domain.channels import ChannelName
from server.domain.control import Denial
from server.domain.errors import PermissionDenied
from server.domain.identity import Action, Identity, UserId, allows, authorize
from server.wire.words import timestamp


def _never() -> int:
    return 0


class Denials:
    """Denials by user and channel. `now_ms` is wall-clock time in milliseconds.

    `until` says when each ends. It is empty most of the time, and never another object: a caller that has no time to
    lose looks at it before it calls `check`.
    """

    def __init__(self, now_ms: Callable[[], int] = _never) -> None:
        self._now_ms = now_ms
        self.until: dict[tuple[UserId, ChannelName], int] = {}

    def apply(self, denial: Denial) -> None:
        """Heed a denial in place of an earlier one of the same user and channel; a denial that has expired ends it."""
        key = (denial.user, denial.channel)
        if denial.expires_at > self._now_ms():
            self.until[key] = denial.expires_at
        else:
            self.until.pop(key, None)

    async def replace(self, denials: Iterable[Denial]) -> None:
        """Heed these in place of all others, as this returns. There may be many: other tasks get their turns."""
        loading = Denials(self._now_ms)
        async for denial in in_turns(denials):
            loading.apply(denial)
        self.until.clear()
        self.until.update(loading.until)

    def sweep(self) -> None:
        """Forget those that have expired."""
        now = self._now_ms()
        for key in [key for key, until in self.until.items() if until <= now]:
            del self.until[key]

    def cover(self, user: UserId, channel: ChannelName) -> bool:
        """Say whether nothing is granted to the user there."""
        until = self.until.get((user, channel))
        return until is not None and until > self._now_ms()

    def check(self, identity: Identity, action: Action, channel: ChannelName) -> None:
        """Raise `PermissionDenied` if nothing is granted to the user there."""
        if self.until and self.cover(identity.user, channel):
            until = timestamp(self.until[identity.user, channel])
            raise PermissionDenied(
                f"the user was removed from '{channel}' until {until}",
                details={"action": action.value, "channel": channel, "denied_until": until},
            )

    def allow(self, identity: Identity, action: Action, channel: ChannelName) -> bool:
        """As `allows`, if nothing denies it."""
        return allows(identity.grants, action, channel) and not (self.until and self.cover(identity.user, channel))

    def authorize(self, identity: Identity, action: Action, channel: ChannelName) -> None:
        """As `authorize`, and raise `PermissionDenied` if a denial stands against it."""
        self.check(identity, action, channel)
        authorize(identity, action, channel)
