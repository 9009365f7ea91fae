"""Fields of commands, each with its bounds."""

from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field
from pydantic_core import to_json

from server.domain import channels
from server.domain.channels import ChannelName
from server.domain.errors import BadRequest, PayloadTooLarge
from server.domain.identity import MAX_USER_CHARS
from server.domain.limits import (
    MAX_DATA_BYTES,
    MAX_DATA_DEPTH,
    MAX_ID_CHARS,
    MAX_KEY_CHARS,
    MAX_OFFSET,
    MAX_TEXT_CHARS,
    MAX_TOKEN_CHARS,
)
from server.domain.messages import EVERYBODY, MAX_MENTIONS
from server.domain.nesting import is_deeper
from server.domain.numbers import is_kept

J = TypeVar("J")

CHANNELS_REMEMBERED = 4_096
"""Valid channel names that are cached (about 1 MiB): most commands name the same few."""


@lru_cache(maxsize=CHANNELS_REMEMBERED)
def channel(text: str) -> ChannelName:
    """Return a channel's name. Raises `ValueError`."""
    try:
        return channels.channel_name(text)
    except BadRequest as error:
        raise ValueError(error.message.removeprefix("channel: ")) from error  # the field is named by `parse`


def sound(value: J) -> J:
    """Return a JSON value that can be kept. Raises `ValueError`."""
    if is_deeper(value, MAX_DATA_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DATA_DEPTH} levels")
    if not is_kept(value):
        raise ValueError("a whole number of more than 64 bits; send it as text")
    return value


def named(users: list[str]) -> list[str]:
    """Return the users that a message names, each once. Raises `ValueError`."""
    if EVERYBODY in users and set(users) != {EVERYBODY}:
        raise ValueError("'*' stands for everybody, and stands alone")
    return list(dict.fromkeys(users))


def check_size(data: object) -> None:
    """Raise `PayloadTooLarge` if `data` has too many bytes, `BadRequest` if JSON can't carry it."""
    try:
        size = len(to_json(data))
    except ValueError:  # a lone surrogate
        raise BadRequest("data: holds what JSON can't carry", details={"field": "data"}) from None
    if size > MAX_DATA_BYTES:
        raise PayloadTooLarge(
            f"data: {size} bytes of JSON, at most {MAX_DATA_BYTES}",
            details={"field": "data", "bytes": size, "limit": MAX_DATA_BYTES},
        )


NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""The pattern of a text without control characters."""


Channel = Annotated[str, Field(max_length=channels.MAX_CHANNEL_CHARS), AfterValidator(channel)]

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=NO_CONTROLS)]

Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS, pattern=NO_CONTROLS)]

Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]

Mentions = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_USER_CHARS, pattern=NO_CONTROLS)]],
    Field(max_length=MAX_MENTIONS),
    AfterValidator(named),
]

Token = Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARS)]

Json = Annotated[dict[str, Any], AfterValidator(sound)]
