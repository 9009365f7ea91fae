"""Joining and resuming channels: the missed events, then live events, with nothing lost or repeated between them."""

from collections.abc import Callable, Collection, Mapping

from server.application.channels.arriving import Arriving
from server.application.channels.asked_resuming import AskedResuming
from server.application.channels.catching_up import CatchingUp
from server.application.channels.hub import Hub
from server.application.channels.new_channels import NewChannels
from server.application.channels.resuming import Joined, Resuming
from server.application.deadline import deadline
from server.application.life.overload import always
from server.application.outside.denials import Denials
from server.application.outside.join_asks import JoinAsks
from server.application.people.attending import UNHEARD, Attending
from server.application.people.unread import Unread
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, PermissionDenied, TooManyChannels
from server.domain.identity import Action, Identity, SessionId, UserId
from server.domain.marks import Mark
from server.domain.messages import Position
from server.domain.presence import Departure
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.ports.membership import Membership
from server.ports.message_log import MessageLog
from server.ports.metrics import SILENT, ChannelMetrics
from server.ports.transport import Transport


class Subscriptions:
    """The use cases of membership: the only ways into a channel and out of it.

    A session enters a channel at the very position up to which it has been given the events, and its answer is written
    in the same step: no await stands between, so the answer precedes every later event. `check_read` raises
    `Overloaded` if the replica has no time for joins that ask for history; missed events are always given.
    """

    def __init__(  # noqa: PLR0913  # all that a member depends on
        self,
        log: MessageLog,
        hub: Hub,
        transport: Transport,
        membership: Membership,
        max_channels: int,
        metrics: ChannelMetrics = SILENT,
        check_read: Callable[[], None] = always,
        *,
        denials: Denials | None = None,
        asks: JoinAsks | None = None,
        attending: Attending = UNHEARD,
        unread: Unread | None = None,
    ) -> None:
        self._hub = hub
        self.unread = unread
        """Counts what the users have not read; None if nothing is counted."""
        self._arriving = Arriving(hub, CatchingUp(log, hub, metrics), membership, unread)
        self._transport = transport
        self._membership = membership
        self._max_channels = max_channels
        self._metrics = metrics
        self._check_read = check_read
        self._denials = Denials() if denials is None else denials
        self._new_channels = NewChannels(hub.clock)
        resuming = Resuming(self._enter, hub, transport, membership, unread)
        self._resuming = resuming if asks is None else AskedResuming(resuming, asks, transport, membership)
        self._asks = asks  # None if no backend is asked
        self._attending = attending

    def hosts(self, channel: ChannelName) -> bool:
        """Say whether the channel's events are delivered here."""
        return self._hub.hosts(channel)

    async def join(
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        answer: Callable[[Joined], None],
        since: Position | None = None,
        history: int = 0,
        *,
        told: bool | None = True,
    ) -> None:
        """Enter a channel, and call `answer` in the same step.

        `answer` is given the events that were missed after `since`; without `since`, or if those can't be given whole,
        the last `history` events, or as many of them as make `REPLAY_BYTES`. `told`: whether the session is given
        presence events. Raises `PermissionDenied`, `TooManyChannels`, `RateLimited`, `Unavailable`, `Overloaded`; and
        `Unauthenticated` if the session has ended meanwhile.
        """
        await self._enter(session, identity, channel, answer, since, history, self._asks, told=told)

    async def _enter(  # noqa: PLR0913  # as `join`
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        answer: Callable[[Joined], None],
        since: Position | None,
        history: int = 0,
        asks: JoinAsks | None = None,
        *,
        told: bool | None = None,
        mark: Mark | None = None,
    ) -> None:
        """As `join`, with `asks` in place of a backend that is asked; None: it has been asked."""
        self._denials.authorize(identity, Action.JOIN, channel)
        if history and since is None:
            self._check_read()
        self._check_room(session, channel)
        if not self._hub.hosts(channel):
            self._arriving.check_present(session)
            self._new_channels.check(session)
        with self._hub.quarantine.guard(channel):
            async with deadline():
                if asks is not None and asks.asks(channel):
                    await asks.before_join(session, identity, channel)
                joined = await self._arriving.arrive(session, identity.user, channel, since, history, mark)
                self._denials.check(identity, Action.JOIN, channel)  # the user may have been removed meanwhile
                # From here to the end of the step nothing awaits: an await would let an event go before its answer.
                answer(joined)
                self._membership.enter(session, channel)
                self._attending.entered(session, identity, channel, told)
        if since is not None:
            self._metrics.resumed(joined.reason)

    def joins_at_once(self, session: SessionId, identity: Identity, channel: ChannelName) -> bool:
        """Say whether the session can enter the channel without waiting for anything but its user's mark. If it is to
        be refused, `join` tells why."""
        if not self._denials.allow(identity, Action.JOIN, channel) or not self._has_room(session, channel):
            return False
        if self._asks is not None and self._asks.asks(channel):
            return False
        return self._membership.present(session) and self._hub.hosts(channel)

    def join_at_once(
        self,
        session: SessionId,
        identity: Identity,
        channel: ChannelName,
        mark: Mark | None = None,
        *,
        told: bool = True,
    ) -> Joined | None:
        """Enter a channel as `join` does, without asking for events, if nothing has to be waited for. Write the answer
        in the same step. `mark` is the user's, read a moment ago.

        Return None, and do nothing, if something has, or if the session is to be refused: `join` tells why.
        """
        may = self.joins_at_once(session, identity, channel)
        hosted = self._hub.host_at_once(channel) if may else None
        if hosted is None:
            return None
        position = hosted.position
        if mark is not None and self.unread is not None and mark.head != position:
            mark = self.unread.at(mark, identity.user, hosted.ring, position)
            if mark is None:
                return None
        self._membership.enter(session, channel)
        self._attending.entered(session, identity, channel, told)
        return Joined(position, None, (), mark)

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """Leave a channel; leaving a channel that was not joined is no error."""
        self._membership.leave(session, channel)
        self._attending.left(session, channel)

    def end(self, session: SessionId, departure: Departure = Departure.LEFT) -> None:
        """Leave every channel, since the session ends: by its client, by its connection or by its token."""
        self._attending.ended(session, self._membership.end(session), departure)
        self._new_channels.end(session)

    async def resume(
        self,
        session: SessionId,
        identity: Identity,
        positions: Mapping[ChannelName, Position],
        quiet: Collection[ChannelName] = (),
    ) -> None:
        """Enter each channel from its position (see `Resuming.resume`); without presence events of the `quiet`."""
        self._attending.hush(session, quiet)
        await self._resuming.resume(session, identity, positions)

    async def come_back(self, session: SessionId, identity: Identity, channel: ChannelName, since: Position) -> None:
        """Enter a channel again that the session was taken out of without a word, as a resume does."""

        def answer(joined: Joined) -> None:
            resumed = ChannelResumed(channel, joined.position, joined.reason, joined.events, joined.mark)
            self._transport.push(session, resumed)

        try:
            await self._enter(session, identity, channel, answer, since)
        except MaruError as error:
            self._attending.left(session, channel)
            self._transport.push(session, ChannelRemoved(channel, type(error)))

    def ask_again(self, user: UserId, channel: ChannelName) -> None:
        """Ask a backend before the user's next join, whatever it has accepted. Call this if the user is removed."""
        if self._asks is not None:
            self._asks.accepted.forget(user, channel)

    def ask_all_again(self) -> None:
        """As `ask_again`, of everybody: removals may have been missed."""
        if self._asks is not None:
            self._asks.accepted.clear()

    def gone(self, session: SessionId) -> None:
        """Wait for nothing any more on behalf of a session whose connection is gone. It ends later, by `end`."""
        self._resuming.gone(session)

    def apply_grants(self, session: SessionId, identity: Identity) -> None:
        """Remove the session from the channels that its (new) grants do not allow."""
        for channel in list(self._membership.channels(session)):
            if not self._denials.allow(identity, Action.JOIN, channel):
                self.remove(session, channel)

    def remove(self, session: SessionId, channel: ChannelName) -> None:
        """Take the session out of the channel, and tell its client; do nothing if it is not in."""
        if channel in self._membership.channels(session):
            self._membership.leave(session, channel)
            self._attending.left(session, channel)
            self._transport.push(session, ChannelRemoved(channel, PermissionDenied))

    def _check_room(self, session: SessionId, channel: ChannelName) -> None:
        """Raise `TooManyChannels` if the session is in as many channels as it may be."""
        if not self._has_room(session, channel):
            raise TooManyChannels(
                f"a session may be in {self._max_channels} channels", details={"limit": self._max_channels}
            )

    def _has_room(self, session: SessionId, channel: ChannelName) -> bool:
        joined = self._membership.channels(session)
        return channel in joined or len(joined) < self._max_channels
