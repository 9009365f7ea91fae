"""Reading back: pages of messages in their current state."""

from collections.abc import Callable

from server.application.commands import ReadHistory
from server.application.deadline import deadline
from server.application.life.overload import always
from server.application.outside.denials import Denials
from server.domain.channels import ChannelName
from server.domain.identity import Action, Identity
from server.domain.recovery import newest_within, oldest_within
from server.ports.message_log import MessageLog, Page


class History:
    """Pages of channels. The reader needs the right to join the channel, but need not be in it. `check` raises
    `Overloaded` if the replica has no time for reads."""

    def __init__(self, log: MessageLog, check: Callable[[], None] = always, *, denials: Denials | None = None) -> None:
        self._log = log
        self._check = check
        self._denials = Denials() if denials is None else denials

    async def read(self, identity: Identity, command: ReadHistory) -> Page:
        """Return a page, oldest first, shortened if it would be over `REPLAY_BYTES`. Raises `PermissionDenied`,
        `Unavailable`, `Overloaded`."""
        channel = ChannelName(command.channel)
        self._denials.authorize(identity, Action.JOIN, channel)
        self._check()
        async with deadline():
            page = await self._log.history(channel, command.before, command.after, command.limit)
        upwards = command.after is not None and command.before is None
        messages = (oldest_within if upwards else newest_within)(page.messages)
        return Page(messages, page.head, page.more or len(messages) < len(page.messages))
