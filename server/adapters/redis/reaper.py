"""Removing what replicas have left in presence that are dead: whose leases have ended. Each replica looks for them; a
single one removes what a dead one has left."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from server.adapters.redis import keys, presence_keys
from server.adapters.redis.holding import Holding
from server.adapters.redis.scripts import Script
from server.adapters.seal import Seal
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.presence import RosterHead, UserStatus

LOOK_S = 2.5
"""Between two looks for dead holders."""

DEAD_LIMIT = 16
"""Dead holders in a look; the others are of the next."""

NOTE_MS = 3_600_000
"""How long a dead holder may enter nobody. A replica does not believe in its lease for so long by its own clock."""

LEAD_MS = 10_000
"""How long a replica that removes may be silent before another does it."""

PARTITIONS_AT_ONCE = 16

CHANNELS_AT_ONCE = 128
"""In a round trip: about 2 ms of Redis."""

PAGE = 512
"""Channels or users of a holder that are read at once."""

STEP = 1_000
"""Users of a channel that are looked at in a script: about 1 ms of Redis."""

_log = structlog.get_logger("maru.redis")


class Reaper:
    """Removes entries of rosters and sessions over the pipeline of `holding`. `topic` is that of a channel's
    changes. `on_offline` gets the users that went offline by that, `on_left` each roster with how many left it.
    `channels`, `left` and `offline` count."""

    def __init__(self, holding: Holding, seal: Seal, topic: Callable[[ChannelName], str]) -> None:
        self.channels = self.left = self.offline = 0
        self.on_offline: Callable[[Sequence[UserStatus]], None] = lambda _: None
        self.on_left: Callable[[ChannelName, RosterHead, int], None] = lambda *_: None
        self._topic, self._holding, self._prefix = topic, holding, holding.prefix
        pipeline = self._pipeline = holding.pipeline
        self._dead, self._note = Script(pipeline, "holders_dead"), Script(pipeline, "holder_dead")
        self._lead = Script(pipeline, "lead")
        self._roster = Script(pipeline, "roster", "roster_reap", seal=seal)
        self._online = Script(pipeline, "online_reap")

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
        before, holders = self._counts(), list[str]()
        leader = self._holding.name  # it may be another before the end
        for raw in await self._dead((presence_keys.holders(self._prefix),), self._holding.now(), DEAD_LIMIT):
            holder = raw.decode()
            if await self._leads(leader, holder, LEAD_MS):
                await self._reap(leader, holder)
                await self._pipeline.ask("ZREM", presence_keys.holders(self._prefix), holder)
                await self._leads(leader, holder, 0)
                holders.append(holder)
        if holders:
            channels, left, offline = (now - was for now, was in zip(self._counts(), before, strict=True))
            _log.info("presence.reaped", holders=holders, channels=channels, left=left, offline=offline)

    def _counts(self) -> tuple[int, int, int]:
        return self.channels, self.left, self.offline

    async def _leads(self, leader: str, holder: str, for_ms: int) -> bool:
        return bool(await self._lead((presence_keys.reaper(holder, self._prefix),), leader, for_ms))

    async def _reap(self, leader: str, holder: str) -> None:
        await asyncio.gather(
            *(self._note((presence_keys.held(each, holder, self._prefix)[1],), NOTE_MS) for each in keys.PARTITIONS)
        )
        for start in range(0, len(keys.PARTITIONS), PARTITIONS_AT_ONCE):
            parts = keys.PARTITIONS[start : start + PARTITIONS_AT_ONCE]
            await asyncio.gather(*(self._leave_partition(holder, each) for each in parts))
            await self._leads(leader, holder, LEAD_MS)

    async def _leave_partition(self, holder: str, partition: str) -> None:
        held = presence_keys.held(partition, holder, self._prefix)[0]
        cursor: Any = b"0"
        while True:
            cursor, found = await self._pipeline.ask("HSCAN", held, cursor, "COUNT", PAGE)
            await self._leave_channels(holder, held, [ChannelName(name.decode()) for name in found[::2]])
            if cursor == b"0":
                break
        await self._end_sessions(holder, partition)

    async def _leave_channels(self, holder: str, held: str, channels: Sequence[ChannelName]) -> None:
        self.channels += len(channels)
        step = CHANNELS_AT_ONCE // PARTITIONS_AT_ONCE
        for start in range(0, len(channels), step):
            await asyncio.gather(*(self._leave_channel(holder, held, each) for each in channels[start : start + step]))

    async def _leave_channel(self, holder: str, held: str, channel: ChannelName) -> None:
        names, topic, cursor = (*presence_keys.roster(channel, self._prefix), held), self._topic(channel), b"0"
        while True:
            epoch = presence_keys.new_epoch()
            answer = await self._roster(names, channel, topic, epoch, self._holding.now(), holder, cursor, STEP)
            cursor, left, epoch, version, count = answer
            self.left += left
            self.on_left(channel, RosterHead(epoch.decode(), int(version), int(count)), left)
            if cursor == b"0":
                return

    async def _end_sessions(self, holder: str, partition: str) -> None:
        names = (
            *presence_keys.online(partition, self._prefix),
            presence_keys.counted(partition, holder, self._prefix)[0],
        )
        cursor: Any = b"0"
        while True:
            cursor, at, *users = await self._online(names, self._holding.now(), holder, cursor, PAGE)
            self.offline += len(users)
            self.on_offline([UserStatus(UserId(user.decode()), False, 0, int(at)) for user in users])
            if cursor == b"0":
                return
