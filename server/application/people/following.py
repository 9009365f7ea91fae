"""Following channels, and the inbox that is made of them (PROTOCOL.md, "Inbox")."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence

from server.application.deadline import deadline
from server.application.outside.denials import Denials
from server.domain.channels import ChannelName, channel_name
from server.domain.errors import BadRequest, MaruError
from server.domain.events import Event, MessageCreated
from server.domain.identity import Action, Identity, UserId
from server.domain.marks import INBOX_TEXT_CHARS, MAX_FOLLOWS, InboxEntry, InboxPage
from server.domain.messages import Message
from server.domain.recovery import REPLAY_BYTES
from server.domain.rules import Rules
from server.ports.follows import Follows
from server.ports.marks import Marks

ENTRY_BYTES = 750
"""Bytes of a channel in an inbox without the text: two names of 128 characters, ids and numbers."""

MAX_FOLLOWING = 1_000
"""Follows by rule that are under way. Over it a user follows with their next message."""

MAX_REMEMBERED = 50_000
"""Users and channels of which it is remembered that the user follows the channel by rule."""

Place = tuple[int, str]
"""Of a channel in an inbox: the time of its last message, below zero so that the latest is first; its name."""


class Following:
    """The use cases of clients and backends."""

    def __init__(self, follows: Follows, marks: Marks, denials: Denials | None = None) -> None:
        self._follows = follows
        self._marks = marks
        self._denials = Denials() if denials is None else denials

    async def follow(self, identity: Identity, channel: ChannelName) -> None:
        """Follow a channel. Raises `PermissionDenied`, `Conflict`, `Unavailable`."""
        self._denials.authorize(identity, Action.JOIN, channel)
        await self.set(identity.user, channel, follows=True)

    async def unfollow(self, identity: Identity, channel: ChannelName) -> None:
        """Follow a channel no longer. Raises `PermissionDenied`, `Unavailable`."""
        self._denials.authorize(identity, Action.JOIN, channel)
        await self.set(identity.user, channel, follows=False)

    async def set(self, user: UserId, channel: ChannelName, *, follows: bool) -> None:
        """Let a user follow a channel, or not, whatever is granted to them. Raises `Conflict`, `Unavailable`."""
        async with deadline():
            if follows:
                await self._follows.follow(user, channel)
            else:
                await self._follows.unfollow(user, channel)

    async def inbox(self, identity: Identity, limit: int, before: str | None = None) -> InboxPage:
        """Return a page of the user's inbox; `before` is `next` of the page before. Raises `BadRequest`,
        `Unavailable`."""
        behind = None if before is None else _place(before)
        async with deadline():
            followed = await self._follows.followed(identity.user)
            granted = [name for name in followed if self._denials.allow(identity, Action.JOIN, name)][:MAX_FOLLOWS]
            entries = await self._marks.inbox(identity.user, granted) if granted else ()
        ordered = sorted(entries, key=_order)
        if behind is not None:
            ordered = [entry for entry in ordered if _order(entry) > behind]
        page = _within(ordered[:limit])
        last = None if len(page) == len(ordered) else _order(page[-1])
        return InboxPage(page, None if last is None else f"{-last[0]}.{last[1]}")


class AutoFollowing:
    """Lets users follow the channels that they write to, if the rule says so. `tasks` owns the work: a message does not
    wait for it, nor fail with it."""

    def __init__(self, follows: Follows, rules: Rules, tasks: asyncio.TaskGroup) -> None:
        self._follows = follows
        self._rules = rules
        self._tasks = tasks
        self._under_way = 0  # follows
        self._known: OrderedDict[tuple[UserId, ChannelName], None] = OrderedDict()  # the oldest first

    def wrote(self, event: Event | None) -> None:
        """Take note of an event that was written."""
        if not isinstance(event, MessageCreated) or not self._rules.of(event.channel).auto_follow:
            return
        key = (event.message.author.id, event.channel)
        if key not in self._known and self._under_way < MAX_FOLLOWING:
            self._known[key] = None
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
            self._under_way += 1
            self._tasks.create_task(self._follow(*key))

    async def _follow(self, user: UserId, channel: ChannelName) -> None:
        try:
            async with deadline():
                await self._follows.follow(user, channel)
        except MaruError:
            self._known.pop((user, channel), None)  # the next message tries again
        finally:
            self._under_way -= 1


def _order(entry: InboxEntry) -> Place:
    return -(entry.last_at or 0), entry.channel


def _place(text: str) -> Place:
    at, _, name = text.partition(".")
    try:
        return -int(at), channel_name(name)
    except (ValueError, BadRequest):
        raise BadRequest("before: expected `next` of a page", details={"field": "before"}) from None


def _within(entries: Sequence[InboxEntry], budget: int = REPLAY_BYTES) -> Sequence[InboxEntry]:
    """Return as many of the first entries as fit into the budget."""
    for index, entry in enumerate(entries):
        budget -= ENTRY_BYTES
        if isinstance(entry.last, Message):
            budget -= len(json.dumps(entry.last.text[:INBOX_TEXT_CHARS], ensure_ascii=False).encode())
        if budget < 0:
            return entries[:index]
    return entries
