"""Events of applications: writing them to the log, telling them without it, and reading them back."""

from collections.abc import Callable

from server.application.deadline import deadline
from server.application.life.overload import always
from server.application.messages.writing import Writing
from server.application.outside.asking import Asker, Asking
from server.application.outside.denials import Denials
from server.application.people.payloads import Publish, ReadEvents
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.identity import Action, Identity
from server.domain.recovery import newest_within, oldest_within
from server.domain.signals import EventEmitted
from server.ports.records import Recorded, RecordPage, Records
from server.ports.signals import Signals


class AppEvents:
    """The events of applications. `now_ms` is wall-clock time in milliseconds; `check` raises `Overloaded` if the
    replica has no time for reads."""

    def __init__(  # all that an event depends on
        self,
        records: Records,
        writing: Writing,
        signals: Signals,
        now_ms: Callable[[], int],
        check: Callable[[], None] = always,
        *,
        denials: Denials | None = None,
        asking: Asking | None = None,
    ) -> None:
        self._records = records
        self._writing = writing
        self._signals = signals
        self._now_ms = now_ms
        self._check = check
        self._denials = Denials() if denials is None else denials
        self._asking = asking  # None if no backend is asked

    async def publish(self, identity: Identity, command: Publish, session: Asker | None = None) -> Recorded | None:
        """Write an event to the log; or, without `log`, hand it on to those that are there, and return None.

        `session` is the client's, about which a backend may be asked; None: the event is not a client's. Raises
        `PermissionDenied`, `RateLimited`, `Unavailable`, `Overloaded`; after `Unavailable`, try again with the same
        key.
        """
        channel = ChannelName(command.channel)
        self._denials.authorize(identity, Action.PUBLISH, channel)
        if command.log:
            self._writing.check_new(identity, channel)
        async with deadline():
            if session is not None and self._asking is not None:
                command = await self._asking.before_publish(session, command)
                self._denials.authorize(session.identity, Action.PUBLISH, channel)  # grants may be gone meanwhile
            if not command.log:
                self._signals.publish(EventEmitted(channel, command.name, identity.author, command.data))
                return None
            record = Record(channel, command.name, identity.author, command.data, command.key, self._now_ms())
            return await self._writing.finish(self._records.record(record))

    async def read(self, identity: Identity, command: ReadEvents) -> RecordPage:
        """Return a page, oldest first, shortened if it would be over `REPLAY_BYTES`. The reader needs the right to join
        the channel, but need not be in it. Raises `PermissionDenied`, `Unavailable`, `Overloaded`."""
        channel = ChannelName(command.channel)
        self._denials.authorize(identity, Action.JOIN, channel)
        self._check()
        async with deadline():
            page = await self._records.page(channel, command.name, command.before, command.after, command.limit)
        upwards = command.after is not None and command.before is None
        events = (oldest_within if upwards else newest_within)(page.events)
        return RecordPage(events, page.head, page.more or len(events) < len(page.events))
