"""Sending, editing and deleting: authorize, append, publish."""

import time
from collections.abc import Callable
from functools import partial

from server.application.commands import Delete, Edit, Send
from server.application.deadline import COMMAND_DEADLINE_S, deadline, watch_over
from server.application.limits.fresh_channels import FreshChannels
from server.application.limits.slow_mode import SlowMode
from server.application.messages.authorship import author_of, authorize_edit, moderator
from server.application.messages.submission import Submission
from server.application.messages.writing import Writing
from server.application.outside.asking import Asker, Asking
from server.application.outside.denials import Denials
from server.domain.appending import Appended, already_deleted, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Revision, Sender
from server.domain.errors import Overloaded, RateLimited, Unavailable
from server.domain.hooks import Hook
from server.domain.identity import Action, Identity, authorize, authorize_change, authorize_changes
from server.domain.messages import EVERYBODY, Message, MessageId, Tombstone
from server.ports.broadcast import Broadcast
from server.ports.message_log import Done, MessageLog
from server.ports.metrics import SILENT, MessageMetrics

NS_PER_MS = 1_000_000

_NOT_WRITTEN = (RateLimited, Overloaded)
"""The log's errors after which a message is certainly not in it."""


class Publisher:
    """Writes to the log, then hints at it.

    `now_ns` is wall-clock time in nanoseconds (`time.time_ns`), `new_id` makes the id of a message from its time in
    milliseconds, `clock`, in seconds, measures how long the log takes. A use case that returns has its event in the log
    and its hint on the way. If it raises `Unavailable`, the event may be in the log: the sender tries again with the
    same key, and the hint is given again even for a duplicate.
    """

    def __init__(  # noqa: PLR0913  # all that a message depends on
        self,
        log: MessageLog,
        broadcast: Broadcast,
        now_ns: Callable[[], int],
        new_id: Callable[[int], MessageId],
        metrics: MessageMetrics = SILENT,
        clock: Callable[[], float] = time.perf_counter,
        *,
        slow_mode: SlowMode | None = None,
        fresh: FreshChannels | None = None,
        denials: Denials | None = None,
        asking: Asking | None = None,
    ) -> None:
        self._log = log
        self.writing = Writing(broadcast, metrics, clock, fresh)
        self._now_ns = now_ns
        self._new_id = new_id
        self._slow_mode = slow_mode  # None if no channel is slow
        self._fresh = fresh  # None if users may make any number of channels
        self._denials = Denials() if denials is None else denials
        self._asking = asking  # None if no backend is asked
        self.asks = None if asking is None else asking.asker(Hook.SEND)
        """Says of a channel whether a backend is asked before a message is written; None if of none."""

    async def send(
        self, identity: Identity, command: Send, session: Asker | None = None, *, marks: bool = True
    ) -> Appended:
        """Write a message. Raises `PermissionDenied`, `RateLimited`, `Unavailable`, `Overloaded`.

        `session` is the client's, about which a backend may be asked; None: the message is not a client's. `marks`: the
        author has read the channel up to it.
        """
        channel = self._admit(identity, command)
        async with deadline():
            try:
                if session is not None and self._asking is not None:
                    command = await self._judged(self._asking, session, command)
                return await self.writing.finish(self._log.append(self._draft(identity, channel, command, marks)))
            except _NOT_WRITTEN:
                self._give_back(identity, channel, command.key)
                raise

    async def _judged(self, asking: Asking, session: Asker, command: Send) -> Send:
        channel = ChannelName(command.channel)
        try:
            command = await asking.before_send(session, command)
        except Unavailable:
            self._give_back(session.identity, channel, command.key)
            raise
        self._denials.authorize(session.identity, Action.SEND, channel)  # grants may be gone meanwhile
        return command

    @property
    def crowded(self) -> bool:
        """As the log's: a client should have one message under way."""
        return self._log.crowded

    def submit(self, identity: Identity, command: Send, sender: Sender, done: Done) -> None:
        """Write a message as `send`, for a caller that does not wait.

        `done` is called once, within `COMMAND_DEADLINE_S`, perhaps before this returns; after `Unavailable`, the
        sender has failed. The messages of a sender are written in the order of the calls, or not at all, as promise 12
        of `MessageLog` says. Raises `PermissionDenied`, `RateLimited`, and calls nothing then.
        """
        draft = self._draft(identity, self._admit(identity, command), command)
        if self._slow_mode is not None:
            done = partial(self._told, done, identity, draft)
        submission = Submission(self.writing, watch_over(COMMAND_DEADLINE_S), sender, done)
        self._log.submit(draft, sender, submission.written)

    def _admit(self, identity: Identity, command: Send) -> ChannelName:
        """Check the grants and the rates of a message, and count it."""
        channel = ChannelName(command.channel)
        if self._denials.until:
            self._denials.check(identity, Action.SEND, channel)
        authorize(identity, Action.SEND, channel)
        if command.mentions and EVERYBODY in command.mentions:
            authorize(identity, Action.MODERATE, channel)
        if self._fresh is not None:
            self._fresh.check(identity, channel)
        if self._slow_mode is not None:
            self._slow_mode.take(identity, channel, command.key)
        return channel

    def _draft(self, identity: Identity, channel: ChannelName, command: Send, marks: bool = True) -> NewMessage:
        at = self._now_ns() // NS_PER_MS
        reply_to = None if command.reply_to is None else MessageId(command.reply_to)
        # By position: with the names, a call with so many fields takes twice as long.
        return NewMessage(
            channel,
            self._new_id(at),
            identity.author,
            command.text,
            command.data,
            reply_to,
            command.key,
            at,
            command.mentioned if command.mentions else (),
            marks,
        )

    def _told(self, done: Done, identity: Identity, draft: NewMessage, outcome: Appended | Exception) -> None:
        if isinstance(outcome, _NOT_WRITTEN):
            self._give_back(identity, draft.channel, draft.key)
        done(outcome)

    def _give_back(self, identity: Identity, channel: ChannelName, key: str | None) -> None:
        """Let the user send again at once, in a slow channel that has refused the message for another reason."""
        if self._slow_mode is not None:
            self._slow_mode.give_back(identity, channel, key)

    async def edit(self, identity: Identity, command: Edit, session: Asker | None = None) -> Appended:
        """Give a message a new text; `session` as in `send`. Raises `PermissionDenied`, `NotFound`, `Conflict`,
        `Unavailable`, `Overloaded`."""
        async with deadline():
            channel, id = ChannelName(command.channel), MessageId(command.id)
            message = await self._find(identity, Action.EDIT_OTHERS, channel, id)
            if message is None:
                raise already_deleted()
            if session is not None and self._asking is not None:
                command = await self._asking.before_edit(session, command)
                self._denials.check(session.identity, Action.EDIT_OTHERS, channel)
                authorize_edit(session.identity, message)
            return await self.writing.finish(
                self._log.append(
                    Revision(
                        channel=channel,
                        id=id,
                        text=command.text,
                        data=command.data,
                        keep_data=command.keeps_data,
                        at=self._now_ns() // NS_PER_MS,
                        by=moderator(identity, message),
                    )
                )
            )

    async def delete(self, identity: Identity, command: Delete) -> Appended:
        """Delete a message; a deleted message stays deleted. Raises as `edit`, except `Conflict`."""
        async with deadline():
            channel, id = ChannelName(command.channel), MessageId(command.id)
            message = await self._find(identity, Action.MODERATE, channel, id)
            by = None if message is None else moderator(identity, message)
            at = self._now_ns() // NS_PER_MS
            return await self.writing.finish(self._log.append(Deletion(channel=channel, id=id, at=at, by=by)))

    async def _find(self, identity: Identity, others: Action, channel: ChannelName, id: MessageId) -> Message | None:
        """Return the message, which the identity may change; None if it is deleted. `others` is the action that allows
        changes of other users' messages. Raises `PermissionDenied`, `NotFound`, `Unavailable`."""
        self._denials.check(identity, others, channel)
        authorize_changes(identity, others, channel)
        message = await self._log.message(channel, id)
        authorize_change(identity, author_of(identity, id, message), others, channel)
        if message is None:
            raise not_found()
        return None if isinstance(message, Tombstone) else message
