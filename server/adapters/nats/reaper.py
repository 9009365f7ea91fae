"""Removing what replicas have left in presence that are dead: whose leases have ended. Each replica looks for them; an
entry is removed by the replica whose change of its document is the first."""

import asyncio
from collections.abc import Callable, Sequence

import orjson
import structlog

from server.adapters.nats.document import Document
from server.adapters.nats.documents import Documents
from server.adapters.nats.holding import CHANNELS, USERS, Holding, ends_at, lease
from server.adapters.nats.roster import Members
from server.adapters.nats.sessions import Sessions
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.presence import Present, RosterChanged, RosterHead, UserStatus

LOOK_S = 2.5
"""Between two looks for dead holders."""

AT_ONCE = 100
"""Documents that are changed at once."""

AGAIN = 12
"""In each of so many looks, the first of them too, it is seen whether a dead replica was left in the middle."""

DEAD_MS = 3_600_000
"""A dead holder is known as such for so long: a replica that was stopped may come back under its name."""

EMPTY_MS = 3_600_000
"""An empty roster keeps its version for so long."""

_log = structlog.get_logger("maru.nats")


class Reaper:
    """Removes entries of rosters and sessions. `on_offline` gets the users that went offline by that, `on_left` the
    rosters that members have left. `channels`, `left` and `offline` count."""

    def __init__(self, holding: Holding) -> None:
        self.channels = self.left = self.offline = 0
        self._looks = 0
        self.on_offline: Callable[[Sequence[UserStatus]], None] = lambda _: None
        self.on_left: Callable[[RosterChanged], None] = lambda _: None
        self._holding = holding
        self.rosters = Documents(holding.link, "rosters", prefix=holding.prefix, replicas=holding.replicas)
        self._emptied = Documents(holding.link, "emptied", prefix=holding.prefix, replicas=holding.replicas)
        self.sessions = Sessions(holding)

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
        before, holders, now = self._counts(), list[str](), await self._holding.now_ms()
        self._looks += 1
        for found in await self._holding.leases.all():
            if await self._is_dead(found, now):
                await self._reap(found.parts[0])
                holders.append(found.parts[0])
        if holders:
            channels, left, offline = (now - was for now, was in zip(self._counts(), before, strict=True))
            _log.info("presence.reaped", holders=holders, channels=channels, left=left, offline=offline)
        await self._forget(now)
        await self.sessions.tidy()

    async def emptied(self, channel: ChannelName) -> None:
        """Forget an empty roster after a while."""
        await self._emptied.put(str(await self._holding.now_ms()).encode(), channel)

    def _counts(self) -> tuple[int, int, int]:
        return self.channels, self.left, self.offline

    async def _is_dead(self, found: Document, now: int) -> bool:
        """Say whether there is something to remove, and let nobody renew the lease from now on."""
        ends = ends_at(found)
        if ends is None:
            if self._looks % AGAIN != 1:
                return False
            return bool(await self._holding.lists.all(found.parts[0])) or await self._bury(found, now)
        return ends <= now and await self._holding.leases.put(lease(None), *found.parts, after=found.place) is not None

    async def _bury(self, found: Document, now: int) -> bool:
        """Forget a holder that is dead for long."""
        if self._holding.store_ms is None and now - found.at_ms > DEAD_MS:
            await self._holding.leases.remove(found)
        return False

    async def _reap(self, holder: str) -> None:
        for page in await self._holding.lists.all(holder):
            texts = orjson.loads(page.data)
            for start in range(0, len(texts), AT_ONCE):
                some = texts[start : start + AT_ONCE]
                if page.parts[1] == CHANNELS:
                    await asyncio.gather(*(self._leave(holder, ChannelName(text)) for text in some))
                elif page.parts[1] == USERS:
                    await self._end(holder, [UserId(text) for text in some])
        await self._holding.lists.purge(holder, under=True)

    async def _leave(self, holder: str, channel: ChannelName) -> None:
        def change(data: bytes) -> tuple[bytes | None, tuple[RosterHead, tuple[Present, ...]]]:
            members = Members.read(data)
            left = members.leave((holder,))
            return members.written() if members.changed else None, (members.head, left)

        head, left = await self.rosters.change(change, channel)
        self.channels += 1
        self.left += len(left)
        if left:
            self.on_left(RosterChanged(channel, head, left, ()))
            if not head.count:
                await self.emptied(channel)

    async def _end(self, holder: str, users: Sequence[UserId]) -> None:
        ended = await asyncio.gather(*(self.sessions.count(user, (holder,), None) for user in users))
        gone = [status for status in ended if status is not None]
        self.offline += len(gone)
        self.on_offline(gone)

    async def _forget(self, now: int) -> None:
        """Forget rosters that are empty for long."""
        for each in await self._emptied.all():
            if int(each.data) <= now - EMPTY_MS and await self._emptied.remove(each):
                found = await self.rosters.get(*each.parts)
                if found is not None and not Members.read(found.data).users:
                    await self.rosters.remove(found)
