"""The payloads of commands about people and applications, as in `server.application.commands`."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from server.application.commands import Command
from server.application.fields import Channel, Id, Key, Offset, check_size, sound
from server.domain.limits import DEFAULT_PAGE, MAX_PAGE
from server.domain.reactions import MAX_EMOJI_CHARS
from server.domain.texts import is_breaking, turns

MAX_EVENT_NAME_CHARS = 64
"""Characters of the name of an application's event."""

EVENT_NAME = r"^[a-z][a-z0-9_.-]*$"
"""The pattern of such a name."""

_EVENT_NAME = re.compile(EVENT_NAME.removesuffix("$"))


def _named(name: str) -> str:
    if _EVENT_NAME.fullmatch(name) is None:
        raise ValueError("expected a-z, then a-z, 0-9, '_', '.' and '-'")
    return name


EventName = Annotated[str, Field(min_length=1, max_length=MAX_EVENT_NAME_CHARS), AfterValidator(_named)]

AnyJson = Annotated[Any, AfterValidator(sound)]


def _shown(emoji: str) -> str:
    if is_breaking(emoji):
        raise ValueError("holds control characters, or line breaks")
    if turns(emoji):
        raise ValueError("holds characters that turn the direction of writing")
    return emoji


Emoji = Annotated[str, Field(min_length=1, max_length=MAX_EMOJI_CHARS), AfterValidator(_shown)]


class React(Command):
    """`reaction:add` and `reaction:remove`."""

    channel: Channel
    id: Id
    emoji: Emoji


class EventContent(Command):
    """The name and the data of an event. The data is any JSON value, `null` too, and must be there."""

    name: EventName
    data: AnyJson
    log: bool = True

    @classmethod
    def parse(cls, payload: object) -> Self:
        """As `Command.parse`, with the bound on `data` in bytes."""
        command = super().parse(payload)
        check_size(command.data)
        return command


class Publish(EventContent):
    """`event:publish`."""

    channel: Channel
    key: Key | None = None


class ReadEvents(Command):
    """`events:read`; both bounds are exclusive."""

    channel: Channel
    name: EventName | None = None
    before: Offset | None = None
    after: Offset | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE
