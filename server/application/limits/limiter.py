"""The rates at which clients' commands are taken: from a bucket of the session, and from a second bucket by the
command's name. A command that is refused takes nothing from either.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from server.domain.buckets import Buckets
from server.domain.gcra import UNLIMITED, Pace, pace, take, wait_s
from server.domain.identity import Identity, UserId
from server.domain.rates import QUIET, Bucket, Rates, replaced
from server.domain.values import value

_OF_USERS = frozenset({Bucket.SEND, Bucket.INBOX})
"""Buckets that all sessions of a user on a replica share."""


@value
class Shortage:
    """The bucket that a command has to wait for, and for how long, in seconds."""

    bucket: Bucket
    wait: float


Plan = tuple[float, float, Bucket | None, float, float, Buckets[UserId] | None]
"""The buckets that a command is taken from: interval and room (`Pace`) of the session's bucket; the second bucket, with
its interval and room; and the buckets that hold it, if it is a user's. A plain tuple is unpacked the fastest."""

Plans = dict[str, Plan]
"""The plans of commands, by name. That of every other command has the name `OTHER`. Plans of quiet buckets have the
bucket's name."""

OTHER = ""
"""No command has this name."""


class Limiter:
    """The rates of a replica. `tiers` are the rates that a token's claim `tier` replaces; `buckets` names the second
    bucket of the known commands, None if there is none; `later`, that of commands that were taken from the session's
    bucket before; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        rates: Rates,
        tiers: Mapping[str, Rates],
        buckets: Mapping[str, Bucket | None],
        clock: Callable[[], float],
        later: Mapping[str, Bucket] | None = None,
    ) -> None:
        self._later = later or {}
        self.clock = clock
        self.users = {bucket: Buckets[UserId]() for bucket in _OF_USERS}
        self._plans = self._plan(rates, buckets)
        self._tiers = {name: self._plan(replaced(rates, tier), buckets) for name, tier in tiers.items()}

    def _plan(self, rates: Rates, buckets: Mapping[str, Bucket | None]) -> Plans:
        session = rates.get(Bucket.SESSION)
        whole = UNLIMITED if session is None else pace(session)
        other = (whole.interval, whole.room, None, 0.0, inf, None)
        plans: Plans = dict.fromkeys((*buckets, OTHER), other)
        for command, bucket in buckets.items():
            rate = None if bucket is None else rates.get(bucket)
            if bucket is not None and rate is not None:
                paced = pace(rate)
                users = self.users.get(bucket)
                if bucket in QUIET:
                    plans[bucket] = (0.0, inf, None, paced.interval, paced.room, None)
                else:
                    plans[command] = (whole.interval, whole.room, bucket, paced.interval, paced.room, users)
        for name, bucket in self._later.items():
            paced = pace(rates[bucket]) if bucket in rates else UNLIMITED
            plans[name] = (0.0, inf, bucket, paced.interval, paced.room, self.users.get(bucket))
        return plans

    def plans(self, identity: Identity) -> Plans:
        """Return the plans of a token: those of its tier, or the usual plans if there is no such tier."""
        return self._tiers.get(identity.tier, self._plans) if identity.tier else self._plans

    def allowance(self, identity: Identity) -> "Allowance":
        """Return what a new session may do."""
        return Allowance(self.plans(identity), identity.user)

    def sweep(self) -> None:
        """Forget some of the buckets that are full."""
        for buckets in self.users.values():
            buckets.sweep(self.clock())


class Allowance:
    """What a session may do. `plans` changes with its token."""

    __slots__ = {
        "_earned": "The number of the session's bucket of all commands.",
        "_own": "The numbers of its other buckets that have been used.",
        "plans": "The buckets that its commands are taken from.",
        "user": "Its user.",
    }

    def __init__(self, plans: Plans, user: UserId) -> None:
        self.plans = plans
        self.user = user
        self._earned = 0.0
        self._own: dict[Bucket, float] = {}

    def follow(self, former: "Allowance") -> None:
        """Go on with what a former session of the same connection has left: a client gains nothing by a new session."""
        self._earned, self._own = former._earned, former._own  # noqa: SLF001  # of the same class

    def take(self, command: str, now: float) -> Shortage | None:
        """Take a command, or say what it has to wait for. Written out, since it is a step of every command."""
        try:
            interval, room, second, second_interval, second_room, users = self.plans[command]
        except KeyError:
            interval, room, second, second_interval, second_room, users = self.plans[OTHER]
        earned = self._earned
        if earned < now:  # noqa: PLR1730  # `max` takes longer
            earned = now
        earned += interval
        if earned - now > room:
            return self.shortage(command, now)
        if second is not None:
            buckets: dict[Any, float] = self._own if users is None else users.earned
            key = second if users is None else self.user
            try:
                theirs = buckets[key]
            except KeyError:
                theirs = 0.0 if users is None else users.add(self.user)
            if theirs < now:  # noqa: PLR1730
                theirs = now
            theirs += second_interval
            if theirs - now > second_room:
                return self.shortage(command, now)
            buckets[key] = theirs
        self._earned = earned
        return None

    def take_quietly(self, bucket: Bucket, now: float) -> float:
        """Take from a quiet bucket a command that has passed. Return 0 or, if the bucket is empty, the seconds to wait
        for it: then the command is to have no effect now."""
        plan = self.plans.get(bucket)
        if plan is None:
            return 0.0
        self._own[bucket], wait = take(self._own.get(bucket, 0.0), Pace(plan[3], plan[4]), now)
        return wait

    def shortage(self, command: str, now: float) -> Shortage:
        """Return the bucket for which a command has to wait the longest; the wait is 0 if it has to wait for none."""
        plan = self.plans.get(command, self.plans[OTHER])
        interval, room, bucket, second_interval, second_room, users = plan
        whole = Shortage(Bucket.SESSION, wait_s(self._earned, Pace(interval, room), now))
        if bucket is None:
            return whole
        if users is not None:
            earned = users.earned.get(self.user, 0.0)
        else:
            earned = self._own.get(bucket, 0.0)
        second = Shortage(bucket, wait_s(earned, Pace(second_interval, second_room), now))
        return second if second.wait >= whole.wait else whole

    def give_back(self, command: str, elapsed: float) -> None:
        """Undo the take of a command that was refused for another rate, `elapsed` seconds later. A bucket that has
        earned the command meanwhile keeps what it has: so nobody is ever given more than the rate."""
        plan = self.plans.get(command, self.plans[OTHER])
        interval, _, bucket, second_interval, _, users = plan
        if elapsed < interval:
            self._earned -= interval
        if bucket is None or elapsed >= second_interval:
            return
        if users is not None:
            users.give_back(self.user, second_interval)
        elif bucket in self._own:
            self._own[bucket] -= second_interval
