"""Names of channels, users and keys as parts of NATS' subjects and names of streams.

A part of a subject may hold no dot, star, `>` or space, and the name of a stream no slash either.
"""

import re

from server.domain.channels import ChannelName

PREFIX = "maru"
"""Begins every subject and every stream. With another prefix, another deployment can use the same account."""

_SPECIAL = re.compile(r"[^A-Za-z0-9_:-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2,6});")


def escaped(text: str) -> str:
    """Return any text as a part of a subject, or of a stream's name; different texts give different parts."""
    return _SPECIAL.sub(lambda found: f"={ord(found[0]):02X};", text)


def unescaped(part: str) -> str:
    """Return the text of a part."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), part)


def channel_of(part: str) -> ChannelName:
    """Return the channel of a part."""
    return ChannelName(unescaped(part))
