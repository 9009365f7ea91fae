"""The payloads of commands about people in a channel (PROTOCOL.md, "Commands")."""

from server.application.commands import Command
from server.application.fields import Channel


class InChannel(Command):
    """`typing:start` and `typing:stop`."""

    channel: Channel
