"""Channel names and the patterns that grants use for them (PROTOCOL.md, "Names")."""

import re
from typing import NewType

from server.domain.errors import BadRequest

ChannelName = NewType("ChannelName", str)
"""A name that `channel_name` has accepted."""

MAX_CHANNEL_CHARS = 128
"""Long enough for `dm:` and two UUIDs, short enough to be a key everywhere."""

_SEGMENT = r"[a-z0-9._-]+"
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]*(?::{_SEGMENT})*", re.ASCII)
_PATTERN_HEAD = re.compile(rf"(?:[a-z0-9][a-z0-9._-]*(?::{_SEGMENT})*:?)?", re.ASCII)


def channel_name(text: str) -> ChannelName:
    """Return `text` as a channel name; `BadRequest` where it is none."""
    if len(text) > MAX_CHANNEL_CHARS or not _NAME.fullmatch(text):
        raise BadRequest(
            "channel: expected lower-case segments joined by ':', such as 'room:42', at most 128 characters",
            details={"field": "channel"},
        )
    return ChannelName(text)


def is_pattern(text: str) -> bool:
    """Say whether `text` may stand in a grant: a channel name, or the start of one and a trailing `*`."""
    if len(text) > MAX_CHANNEL_CHARS:
        return False
    if text.endswith("*"):
        return _PATTERN_HEAD.fullmatch(text[:-1]) is not None
    return _NAME.fullmatch(text) is not None
