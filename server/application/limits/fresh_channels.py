"""How many channels a user may make: each first message makes one, which stays in the store while its events do."""

from collections.abc import Callable, Mapping

from server.domain.buckets import MAX_KEYS, Buckets
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.gcra import UNLIMITED, Pace, pace, wait_s
from server.domain.identity import Identity, UserId
from server.domain.rates import Bucket, Rates, replaced

_BUCKET = Bucket.NEW_CHANNEL


class FreshChannels:
    """Counts the channels that users have made, on this replica. `has_events` says of a channel that it is known to
    exist; `clock` is monotonic, in seconds.

    Only the log knows whether a message is the first, so it is counted afterwards. Who has made as many as allowed may
    write into known channels only: those with members here.
    """

    def __init__(
        self,
        rates: Rates,
        tiers: Mapping[str, Rates],
        has_events: Callable[[ChannelName], bool],
        clock: Callable[[], float],
    ) -> None:
        self._usual = _pace_in(rates)
        self._tiers = {name: _pace_in(replaced(rates, tier)) for name, tier in tiers.items()}
        self._has_events = has_events
        self._clock = clock
        self._made = Buckets[UserId]()
        self._spent: set[UserId] = set()  # users who have made as many as allowed, when they made the last one
        self._paces: dict[UserId, Pace] = {}  # of users whose token has a tier, since they wrote last

    def check(self, identity: Identity, channel: ChannelName) -> None:
        """Raise `RateLimited` if a message may be the first of its channel, and the user has made too many. A step of
        every message: nearly all users have not."""
        if identity.tier:
            self._note_tier(identity.user, identity.tier)
        if self._spent and identity.user in self._spent:
            self._check(identity.user, channel)

    def _note_tier(self, user: UserId, tier: str) -> None:
        if len(self._paces) >= MAX_KEYS:
            self._paces.clear()
        self._paces[user] = self._tiers.get(tier, self._usual)

    def _check(self, user: UserId, channel: ChannelName) -> None:
        wait = self._wait_s(user)
        if not wait:
            self._spent.discard(user)
        elif not self._has_events(channel):
            message = f"too many new channels; the limit is {_BUCKET}, existing channels are free if you join them"
            raise RateLimited.by(_BUCKET, wait, message)

    def _wait_s(self, user: UserId) -> float:
        return wait_s(self._made.earned.get(user, 0.0), self._paces.get(user, self._usual), self._clock())

    def made(self, user: UserId) -> None:
        """Count a channel that the user has made."""
        interval = self._paces.get(user, self._usual).interval
        if interval:
            self._made.earned[user] = max(self._made.add(user), self._clock()) + interval
            if self._wait_s(user):
                self._spent.add(user)

    def sweep(self) -> None:
        """Forget some of the users whose buckets are full."""
        self._made.sweep(self._clock())
        self._spent &= self._made.earned.keys()


def _pace_in(rates: Rates) -> Pace:
    rate = rates.get(_BUCKET)
    return UNLIMITED if rate is None else pace(rate)
