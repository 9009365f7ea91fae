"""Fields of requests and answers that several operations have, each with its checks and its JSON Schema."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from server.application.commands import Command
from server.application.fields import Channel as ChannelText
from server.application.fields import Id
from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS, Author, UserId
from server.domain.limits import MAX_OFFSET
from server.domain.texts import is_breaking, is_visible, visible

MAX_DIGITS = 16
"""Of a whole number in a query: `MAX_OFFSET` has as many."""

CHANNEL_PATTERN = r"^[a-z0-9][a-z0-9._-]*(:[a-z0-9._-]+)*$"
"""For the description: `server.domain.channels` judges."""


def _user(text: str) -> str:
    if is_breaking(text):
        raise ValueError("holds control characters, or line breaks")
    if not is_visible(text):
        raise ValueError("is not in NFC, or holds invisible or direction-changing characters")
    return text


def _name(text: str) -> str:
    if is_breaking(text):
        raise ValueError("holds control characters, or line breaks")
    return visible(text).strip()


def whole(value: object) -> object:
    """Return the whole number that a text in a query is. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
        raise ValueError("expected a whole number")
    return int(value)


def flag(value: object) -> object:
    """Return the truth that a text in a query is. Raises `ValueError`."""
    if value not in ("true", "false", True, False):
        raise ValueError("expected true or false")
    return value in ("true", True)


Channel = Annotated[
    ChannelText,
    Field(
        description="A channel's name.",
        examples=["room:42"],
        json_schema_extra={"minLength": 1, "pattern": CHANNEL_PATTERN},
    ),
]

User = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_USER_CHARS,
        description="A user's id: the `sub` of their tokens. In NFC, without invisible or control characters.",
        examples=["alice"],
        json_schema_extra={"format": "user-id"},
    ),
    AfterValidator(_user),
]

Name = Annotated[
    str,
    Field(
        max_length=MAX_NAME_CHARS,
        description="The name that people see; invisible characters are left out.",
        examples=["Alice"],
        json_schema_extra={"format": "display-name"},
    ),
    AfterValidator(_name),
]

MessageKey = Annotated[
    Id,
    Field(description="A message's id.", json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}),
]

Flag = Annotated[bool, BeforeValidator(flag)]
"""`true` or `false` in a query."""

Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET), BeforeValidator(whole)]
"""A place in a channel's log, in a query."""


class AuthorField(Command):
    """The user in whose name a message is written."""

    id: User
    name: Name | None = None

    @property
    def author(self) -> Author:
        """As a domain value."""
        return Author(UserId(self.id), self.name or None)


def without_controls(limit: int, least: int = 1) -> dict[str, Any]:
    """Return the JSON Schema of a message's text."""
    pattern = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    return {"type": "string", "minLength": least, "maxLength": limit, "pattern": pattern}
