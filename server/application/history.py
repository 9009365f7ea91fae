"""Reading back: pages of messages in their current state."""

from server.application.commands import ReadHistory
from server.application.deadline import deadline
from server.domain.channels import ChannelName
from server.domain.identity import Action, Identity, authorize
from server.ports.message_log import MessageLog, Page


class History:
    """Reads of who may join a channel; being in it is not needed."""

    def __init__(self, log: MessageLog) -> None:
        self._log = log

    async def read(self, identity: Identity, command: ReadHistory) -> Page:
        """Return a page, oldest first. Raises `PermissionDenied`, `Unavailable`."""
        channel = ChannelName(command.channel)
        authorize(identity, Action.JOIN, channel)
        async with deadline():
            return await self._log.history(channel, command.before, command.after, command.limit)
