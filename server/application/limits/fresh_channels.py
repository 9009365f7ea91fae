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
        self._paces: dict[UserId, Pace] = {}  # of users whose token has a tier, since they wrote last

    def check(self, identity: Identity, channel: ChannelName) -> None:
        """Raise `RateLimited` if a message may be the first of its channel, and the user has made too many."""
        user, paced = identity.user, self._usual
        if identity.tier:
            paced = self._tiers.get(identity.tier, paced)
            if len(self._paces) >= MAX_KEYS:
                self._paces.clear()
            self._paces[user] = paced
        earned = self._made.earned.get(user)
        if earned is None:
            return
        wait = wait_s(earned, paced, self._clock())
        if wait and not self._has_events(channel):
            message = f"too many new channels; the limit is {_BUCKET}, existing channels are free if you join them"
            raise RateLimited.by(_BUCKET, wait, message)

    def made(self, user: UserId) -> None:
        """Count a channel that the user has made."""
        interval = self._paces.get(user, self._usual).interval
        if interval:
            self._made.earned[user] = max(self._made.add(user), self._clock()) + interval

    def sweep(self) -> None:
        """Forget some of the users whose buckets are full."""
        self._made.sweep(self._clock())


def _pace_in(rates: Rates) -> Pace:
    rate = rates.get(_BUCKET)
    return UNLIMITED if rate is None else pace(rate)
