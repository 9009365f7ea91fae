"""Removing what replicas have left in presence that are dead: whose leases have ended. Each replica looks for them; a
single one at a time removes what a dead one has left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from asyncpg import Record

from server.adapters.postgres.holding import Holding
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.presence import Present, RosterChanged, RosterHead, UserStatus
from server.ports.presence import SEEN_S

LOOK_S = 2.5
"""Between two looks for dead holders."""

STEP = 1_000
"""Entries that a transaction removes: their rosters are locked for some 20 ms."""

STEPS_LIMIT = 2_000
"""Transactions in a look; the next goes on."""

EMPTY_MS = 3_600_000
"""An empty roster keeps its version for so long."""

FORGOTTEN = 10_000
"""Empty rosters, and users that were seen long ago, that a look forgets."""

_ROSTERS = "SELECT * FROM maru.reap_rosters($1, $2)"
_SESSIONS = "SELECT * FROM maru.reap_sessions($1, $2, $3)"
_FORGET = "SELECT maru.forget_presence($1, $2, $3, $4)"

_log = structlog.get_logger("maru.postgres")


async def _nobody(_: Sequence[RosterChanged]) -> None:
    pass


class Reaper:
    """Removes entries of rosters and sessions in the database of `holding`. `on_offline` gets the users that went
    offline by that, `on_left` the rosters that members have left. `channels`, `left` and `offline` count."""

    def __init__(self, holding: Holding) -> None:
        self.channels = self.left = self.offline = 0
        self.on_offline: Callable[[Sequence[UserStatus]], None] = lambda _: None
        self.on_left: Callable[[Sequence[RosterChanged]], Awaitable[None]] = _nobody
        self._holding = holding

    async def run(self) -> None:
        """Look until cancelled. Of looks that fail in a row the first is told."""
        failed = False
        while True:
            try:
                await self.look()
                failed = False
            except MaruError as error:
                if not failed:
                    _log.info("presence.not_reaped", problem=str(error))
                failed = True
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look for dead holders, and remove what they have left. Raises `Unavailable`: then the next look goes on."""
        before, holders = self._counts(), dict[str, None]()
        for _ in range(STEPS_LIMIT):
            holder = await self._step()
            if holder is None:
                break
            holders[holder] = None
        if holders:
            channels, left, offline = (now - was for now, was in zip(self._counts(), before, strict=True))
            _log.info("presence.reaped", holders=list(holders), channels=channels, left=left, offline=offline)
        await self._holding.fetch(_FORGET, self._holding.now(), EMPTY_MS, SEEN_S * 1_000, FORGOTTEN)

    def _counts(self) -> tuple[int, int, int]:
        return self.channels, self.left, self.offline

    async def _step(self) -> str | None:
        """Remove some of what a dead holder has left. Returns its name; None if there is none."""
        rows = await self._holding.fetch(_ROSTERS, self._holding.now(), STEP)
        if not rows:
            return None
        *rosters, last = rows
        changes = [_change(row) for row in rosters]
        self.channels += len(changes)
        self.left += sum(len(change.left) for change in changes)
        await self.on_left(changes)
        holder: str = last["holder"]
        while last["looked"] < STEP:
            *users, ended = await self._holding.fetch(_SESSIONS, self._holding.now(), holder, STEP)
            self.offline += len(users)
            self.on_offline([UserStatus(UserId(row["member"].decode()), False, 0, row["at"]) for row in users])
            if ended["looked"] < STEP:
                break
        return holder


def _change(row: Record) -> RosterChanged:
    head = RosterHead(row["epoch"], row["version"], row["count"])
    return RosterChanged(ChannelName(row["channel"]), head, gone(row), ())


def gone(row: Record) -> tuple[Present, ...]:
    """Return the members that a row tells to have left."""
    return tuple(map(present, row["gone"] or (), row["gone_names"] or (), row["gone_since"] or ()))


def present(member: bytes, name: bytes | None, since: int) -> Present:
    """Return a member of a roster."""
    return Present(UserId(member.decode()), None if name is None else name.decode(), since)
