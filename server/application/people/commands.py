"""The payloads of commands about people in a channel (PROTOCOL.md, "Commands")."""

from server.application.commands import Command
from server.application.fields import Channel, Offset


class InChannel(Command):
    """`typing:start`, `typing:stop`, `receipts:read`."""

    channel: Channel


class MarkRead(InChannel):
    """`read:mark`."""

    offset: Offset
