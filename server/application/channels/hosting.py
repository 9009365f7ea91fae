"""Hosting: the channels that this replica keeps in memory, from their first member until a while after their last.

State changes between awaits, never across an await.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection

from server.application.channels.quarantine import Quarantine
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.events import Event
from server.domain.messages import Position
from server.domain.recovery import REPLAY_LIMIT
from server.domain.rings import Ring, Rings
from server.domain.sequencing import HELD_LIMIT, Fingerprint, Sequencer
from server.ports.broadcast import Broadcast
from server.ports.membership import Membership
from server.ports.message_log import MessageLog

LINGER_S = 30.0
"""A channel stays hosted this long after its last member left: a client that reconnects finds its ring filled."""

OPENINGS = 32
"""Channels that are opened at once, for all sessions. A session waits for at most one opening, so that no session's
channels stand before another's."""

EMPTY_LIMIT = 5_000
"""Channels without a member that stay hosted. Beyond it those are released first that were asked for longest ago: a
client that joins and leaves made-up channels holds some 10 MB, and not 2 KB for each channel of half a minute."""

HOSTED_LIMIT = 50_000
"""Channels that are hosted, some 100 MB. Empty ones make room for others; if there are none, no further one opens."""

SWEEP_S = 5.0
"""How often empty channels are looked for."""


class HostedChannel:
    """An open channel: it has members on this replica, or had some a moment ago."""

    __slots__ = ("doubts", "empty_since", "heavy", "last", "name", "opened_for", "released", "ring", "sequencer")

    def __init__(self, name: ChannelName, head: Position, ring: Ring, now: float) -> None:
        self.name = name
        self.sequencer = Sequencer(head)  # puts the channel's hints in order
        self.ring = ring  # the last events, for clients that join and resume
        self.empty_since = now  # on the hub's clock; when the channel was last seen with a member or asked for
        self.opened_for: Position | None = None  # the very position that a client gave before the log was read
        self.released = False  # whether its events are no longer delivered here
        self.last: Fingerprint | None = None  # of the event at the position, if known
        self.heavy = 0  # from before this offset to the head there are more bytes than a replay may have
        self.doubts = 0  # times that the log may have been replaced since it was last compared with the position

    @property
    def position(self) -> Position:
        """The last event given to members."""
        return self.sequencer.position

    def restart(self, head: Position) -> None:
        """Go on from the log's head, and forget the events before it."""
        self.sequencer.reset(head)
        self.ring.clear()
        self.heavy, self.last = 0, None


class Opening:
    """A channel whose position is being read from the log. Its hints are held until the position is known."""

    __slots__ = ("askers", "begun", "held", "missed_hints", "opened")

    def __init__(self, opened: asyncio.Future[HostedChannel | MaruError]) -> None:
        self.opened = opened  # an error is its result: raised, it would end the task group
        self.askers = 0  # how many wait for it
        self.begun = False  # whether the broker and the log have been asked
        self.held: list[Event] = []  # hints that have arrived, at most `HELD_LIMIT`
        self.missed_hints = False  # whether a hint may have been missed, so that the log has to be read once more

    def hold(self, event: Event) -> None:
        """Keep a hint until the channel is open."""
        if len(self.held) < HELD_LIMIT:
            self.held.append(event)
        else:
            self.missed_hints = True


Opened = Callable[[HostedChannel, Opening], None]
"""Take over the held hints of a channel in the step in which it opens."""


class Hosting:
    """Opens channels and releases them. `tasks` owns the openings; `clock` is monotonic, in seconds."""

    def __init__(  # noqa: PLR0913, PLR0917  # everything that an opening needs, wired by the hub
        self,
        log: MessageLog,
        broadcast: Broadcast,
        membership: Membership,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        rings: Rings,
        opened: Opened,
        quarantine: Quarantine,
        limit: int = HOSTED_LIMIT,
    ) -> None:
        self._log = log
        self._broadcast = broadcast
        self._membership = membership
        self._tasks = tasks
        self._clock = clock
        self._rings = rings
        self._opened = opened
        self._quarantine = quarantine
        self._limit = limit
        # Channels that had no member when they were last looked at, those first that were asked for longest ago.
        self._empty: OrderedDict[ChannelName, None] = OrderedDict()
        self._slots = asyncio.Semaphore(OPENINGS)  # for openings that have begun; the others wait in their order
        self._hosted: dict[ChannelName, HostedChannel] = {}
        self._opening: dict[ChannelName, Opening] = {}  # one for all callers that ask for a channel

    def __len__(self) -> int:
        """Return how many channels are open or opening."""
        return len(self._hosted) + len(self._opening)

    def channels(self) -> Collection[ChannelName]:
        """Return the channels that are open or opening."""
        return (*self._hosted, *self._opening)

    def channel(self, channel: ChannelName) -> HostedChannel | None:
        """Return the channel if it is open."""
        return self._hosted.get(channel)

    def opening(self, channel: ChannelName) -> Opening | None:
        """Return the channel's opening if it is under way."""
        return self._opening.get(channel)

    async def host(self, channel: ChannelName, since: Position | None = None) -> HostedChannel:
        """Return the channel, opened. Raises `Unavailable` if the log or the broker is away, or after a fault, and
        `Overloaded` if too many channels have members here.

        The caller may add a member within `LINGER_S`, unless the channel is `released` by then. If the channel opens
        for this caller, the events after `since` come with the read that opens it.
        """
        self._quarantine.check(channel)
        hosted = self._hosted.get(channel) or await self._open_once(channel, since)
        self._ask_for(hosted)
        return hosted

    def host_at_once(self, channel: ChannelName) -> HostedChannel | None:
        """As `host`, if the channel is open and is not left alone after a fault; else None."""
        hosted = self._hosted.get(channel)
        if hosted is None or self._quarantine.holds(channel):
            return None
        self._ask_for(hosted)
        return hosted

    def _ask_for(self, hosted: HostedChannel) -> None:
        """Keep the channel for `LINGER_S`: it is asked for now."""
        hosted.empty_since = self._clock()
        self._empty[hosted.name] = None
        self._empty.move_to_end(hosted.name)

    async def sweep(self) -> None:
        """Release the channels that have been empty for `LINGER_S`, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.release_empty()

    async def release_empty(self) -> None:
        """Release the channels that have been empty for `LINGER_S` by now."""
        now = self._clock()
        for hosted in list(self._hosted.values()):
            if hosted.released or self._membership.members(hosted.name):
                hosted.empty_since = now
                continue
            self._empty.setdefault(hosted.name)
            if now - hosted.empty_since >= LINGER_S:
                await self._release(hosted.name)
        await self._release_oldest()

    async def _release_oldest(self) -> None:
        """Release empty channels until there are at most `EMPTY_LIMIT`, and room for another channel."""
        while len(self._empty) > EMPTY_LIMIT or (self._empty and len(self._hosted) >= self._limit):
            channel, _ = self._empty.popitem(last=False)
            if not self._membership.members(channel):
                await self._release(channel)

    async def _release(self, channel: ChannelName) -> None:
        self._empty.pop(channel, None)
        hosted = self._hosted.pop(channel)
        hosted.released = True
        hosted.ring.clear()
        await self._unsubscribe(channel)

    async def _open_once(self, channel: ChannelName, since: Position | None) -> HostedChannel:
        """Open the channel, or wait for the opening that is under way."""
        opening = self._opening.get(channel)
        if opening is None:
            opening = self._opening[channel] = Opening(self._tasks.create_task(self._open(channel, since)))
        opening.askers += 1
        try:
            # Shielded: the first caller may be cancelled while others wait for the same channel.
            opened = await asyncio.shield(opening.opened)
        finally:
            opening.askers -= 1
            if not opening.askers and not opening.begun:
                opening.opened.cancel()  # nobody waits for it any more: it is not even begun
                del self._opening[channel]
        if isinstance(opened, MaruError):
            raise type(opened)(opened.message) from opened
        return opened

    async def _open(self, channel: ChannelName, since: Position | None) -> HostedChannel | MaruError:
        """Host a channel: subscribe first, read the log second, so that no event falls between the two."""
        async with self._slots:
            self._opening[channel].begun = True
            await self._release_oldest()
            if len(self._hosted) >= self._limit:
                del self._opening[channel]
                return Overloaded("this server has as many channels as it can have")
            return await self._begin(channel, since)

    async def _begin(self, channel: ChannelName, since: Position | None) -> HostedChannel | MaruError:
        after, limit = (0, 0) if since is None else (since.offset, REPLAY_LIMIT)
        try:
            await self._broadcast.subscribe(channel)
            replay = await self._log.read(channel, after, limit)
            hosted = HostedChannel(channel, replay.head, Ring(self._rings), self._clock())
            hosted.opened_for = since
            hosted.ring.replay(after, replay.head.offset, replay.events)
            for event in replay.events[-1:]:
                self._log.note(event)
        except MaruError as error:
            await self._unsubscribe(channel)
            return error
        except Exception as fault:  # noqa: BLE001  # whatever it is, it costs this channel alone
            await self._unsubscribe(channel)
            return self._quarantine.add(channel, fault)
        finally:
            opening = self._opening.pop(channel)
        self._hosted[channel] = hosted
        self._opened(hosted, opening)
        return hosted

    async def _unsubscribe(self, channel: ChannelName) -> None:
        """Give the channel's topic up. If that fails, the topic costs traffic, and nothing else."""
        with contextlib.suppress(Unavailable), self._quarantine.guard(channel):
            await self._broadcast.unsubscribe(channel)
