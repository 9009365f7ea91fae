"""The users that are in each channel, on all replicas."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.presence import NOBODY, ChannelTurned, Roster, RosterChanged, RosterHead, UserStatus

ENTRIES_AT_ONCE = 1_000
"""Users in a call, at most."""

CHANGES_LIMIT = 10_000
"""Changes that may wait for the listener; over it all are dropped, and `RostersLost` is heard."""

TURNS_LIMIT = 100_000
"""Channels that became occupied or vacated, that may wait for the listener; over it the first are dropped."""

REAPED_LIMIT = 100_000
"""Users that went offline with a lease, that may wait for the listener; over it the first are dropped."""

SEEN_S = 30 * 86_400
"""How long is known when a user was last online."""


@dataclass(frozen=True, slots=True)
class RostersLost:
    """Changes may have been missed, or entries of this replica lost: those of all channels are entered again, and
    rosters read again."""


class Presence(Protocol):
    """Rosters: a set of users for each channel. A user is in it while at least one replica that lives has entered them.

    1. Sets: entering a user who was entered here, or elsewhere, changes neither roster nor version; so does leaving one
       that is still entered elsewhere. Tabs and replicas do not show.
    2. Versions: within an epoch, each user that enters or leaves the roster raises the version by one; entering a user
       again keeps `name` and `since`. A roster that became empty and was forgotten, or was lost, has a new epoch; as
       long as nobody enters it, its head is `NOBODY`.
    3. Changes: each change is told to the replicas that have subscribed to the channel by `Broadcast.subscribe`, this
       one included. They may be lost, and may come in another order: after a version that does not follow, the roster
       is read. If many are lost `RostersLost` is heard.
    4. Lease: the entries of a replica hold as long as its lease of `ports.replicas.LEASE_S`, which is renewed by
       `renew`, by the store's clock. Once it has ended, the replicas that live remove them, within 3 s; a user that was
       entered elsewhere meanwhile stays, and nobody hears of it.
    5. Handing over: `hand_over(linger_s)` lets the entries hold for so long more, and then go: for a replica that ends.
    6. `Unavailable` within 2 s; the change may or may not have happened, and doing it again is safe. `renew` says
       whether the lease still held: False: all entries of this replica are gone, or may be, and are to be entered
       again. `enter` and `leave` are `Unavailable` from the end of the lease to the next `renew`.
    7. Rosters are judged by the store's clock alone.
    8. Turns: that a roster's first user has entered, or its last has left, is told by `turns` to the replica that did
       it, or that removed a dead one's entries, and to no other. It is lost if that replica ends before it hears of it,
       or has no answer to its call.
    """

    @property
    def dropped(self) -> int:
        """How many changes and turns had no room to wait for their listeners, since the start. Promises 3, 8."""
        ...

    @property
    def reaped(self) -> int:
        """How many users this replica has taken out of rosters for dead replicas, since the start. Promise 4."""
        ...

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        """Enter users, with their names, at most `ENTRIES_AT_ONCE`. `seen` is a head that the roster has had: if it is
        behind that, the store has gone back in time, and the roster gets a new epoch. Promises 1-4, 6."""
        ...

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        """Enter users no longer, at most `ENTRIES_AT_ONCE`. Promises 1-3, 6."""
        ...

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        """Return the roster, with at most `limit` members. Promises 2, 6."""
        ...

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        """Return the heads of rosters, at most 10,000. Promises 2, 6."""
        ...

    async def renew(self) -> bool:
        """Let the entries of this replica hold. Promises 4, 6."""
        ...

    async def hand_over(self, linger_s: float) -> None:
        """Let the entries of this replica end soon. Promises 5, 6."""
        ...

    def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        """Iterate over the changes of the subscribed channels. A single task does. Promise 3."""
        ...

    def turns(self) -> AsyncIterator[ChannelTurned]:
        """Iterate over the rosters that became occupied or vacated. A single task does. Promise 8."""
        ...

    async def run(self) -> None:
        """Remove the entries of replicas whose lease has ended, until cancelled. Promise 4."""
        ...


class Online(Protocol):
    """How many sessions each user has, on all replicas. Shares the lease of `Presence`.

    1. `count` says how many sessions the users have on this replica. The users that came online or went offline
       by that are returned to the caller, and to no other; those that went offline because a lease ended, to the
       replica that removed them, by `reaped`.
    2. `status` sums over the replicas that live. `last_seen` is kept for 30 days.
    3. `Unavailable` within 2 s.
    """

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        """Set the numbers of sessions, at most `ENTRIES_AT_ONCE`; return the users that came online or went offline by
        that. Promises 1, 3."""
        ...

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        """Return the status of users, at most `ENTRIES_AT_ONCE`, in their order. Promises 2, 3."""
        ...

    def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        """Iterate over the users that went offline because a lease ended, as far as this replica removed them. A
        single task does. Promise 1."""
        ...
