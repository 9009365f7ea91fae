"""Slow mode: in some channels a user waits between two messages."""

from collections.abc import Callable

from server.domain.buckets import Buckets
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.gcra import Rate, pace
from server.domain.identity import Action, Identity, UserId
from server.domain.rates import SLOW_MODE
from server.domain.rules import Rules


class SlowMode:
    """Counts the messages of each user in each slow channel, on this replica. `clock` is monotonic, in seconds."""

    def __init__(self, rules: Rules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._last = Buckets[tuple[ChannelName, UserId]]()
        self._sent = Buckets[tuple[ChannelName, UserId, str]]()  # by the messages' idempotency keys

    def take(self, identity: Identity, channel: ChannelName, key: str | None) -> None:
        """Count a message. Raises `RateLimited`.

        A moderator does not wait. A message that is repeated under its key while the user waits is not refused, since
        it is no second message: the log finds the first.
        """
        seconds = self._rules.of(channel).slow_mode_s
        if not seconds or Action.MODERATE in identity.grants.actions(channel):
            return
        now, user = self._clock(), identity.user
        if key is not None and self._sent.earned.get((channel, user, key), 0.0) > now:
            return
        paced = pace(Rate(1.0 / seconds, 1))
        if wait := self._last.take((channel, user), paced, now):
            message = f"'{channel}' is in slow mode: a message every {seconds:g} s"
            raise RateLimited.by(SLOW_MODE, wait, message)
        if key is not None:
            self._sent.take((channel, user, key), paced, now)

    def give_back(self, identity: Identity, channel: ChannelName, key: str | None) -> None:
        """Forget the last message of the user: it was not written."""
        self._last.forget((channel, identity.user))
        if key is not None:
            self._sent.forget((channel, identity.user, key))

    def sweep(self) -> None:
        """Forget some of the users that need not wait any more."""
        now = self._clock()
        self._last.sweep(now)
        self._sent.sweep(now)
