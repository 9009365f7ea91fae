"""The payloads of commands about people in a channel (PROTOCOL.md, "Commands")."""

from typing import Annotated

from pydantic import Field

from server.application.commands import Command
from server.application.fields import Channel, Offset
from server.domain.channels import MAX_CHANNEL_CHARS
from server.domain.marks import MAX_INBOX

MAX_PLACE_CHARS = MAX_CHANNEL_CHARS + 22
"""Characters of a place in an inbox."""


class InChannel(Command):
    """`typing:start`, `typing:stop`, `receipts:read`, `channel:follow`, `channel:unfollow`."""

    channel: Channel


class MarkRead(InChannel):
    """`read:mark`."""

    offset: Offset


class ReadInbox(Command):
    """`inbox:read`; `before` is `next` of the page before."""

    limit: Annotated[int, Field(ge=1, le=MAX_INBOX)]
    before: Annotated[str, Field(min_length=1, max_length=MAX_PLACE_CHARS)] | None = None
