"""The idempotency keys of a log in memory."""

from collections.abc import Callable
from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId

Key = tuple[ChannelName, UserId, str]


@dataclass(frozen=True, slots=True)
class Keyed:
    """The first draft of a key. Its event may have been dropped since. `id` is that of a message; None for a record."""

    offset: int
    id: MessageId | None
    at: int


class Keys:
    """Keys of one kind of drafts."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._kept: dict[Key, tuple[int, Keyed]] = {}  # when each expires; in the order of writing, and of expiring

    def find(self, key: Key) -> Keyed | None:
        """Return the first draft of the key."""
        self._expire()
        found = self._kept.get(key)
        return found and found[1]

    def put(self, key: Key, keyed: Keyed) -> None:
        """Remember the first draft of the key."""
        self._expire()
        self._kept[key] = (self._now_ms() + KEY_LIFETIME_MS, keyed)

    def forget(self, channel: ChannelName) -> None:
        """Forget the keys of a channel whose log is lost."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != channel}

    def _expire(self) -> None:
        now = self._now_ms()
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > now:
                return
            del self._kept[oldest]
