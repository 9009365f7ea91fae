"""The payloads of commands (PROTOCOL.md, "Commands"), checked before any use case sees them.

Strict (no text is taken for a number), tolerant (unknown fields are ignored), bounded (each field says how much).
"""

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.application.fields import Channel, Id, Json, Key, Mentions, Offset, Text, Token, channel, check_size
from server.domain import channels
from server.domain.channels import ChannelName
from server.domain.errors import BadRequest
from server.domain.identity import UserId
from server.domain.limits import DEFAULT_PAGE, MAX_EPOCH_CHARS, MAX_JOIN_HISTORY, MAX_PAGE, MAX_RESUME_CHANNELS
from server.domain.marks import MAX_INBOX
from server.domain.messages import Position
from server.domain.texts import has_controls, with_line_feeds


def _path(location: tuple[int | str, ...]) -> str:
    """Name a field in our own words: the names inside `resume` and `data` are the client's, and stand as `*`."""
    if len(location) > 1 and location[0] in {"resume", "data"}:
        # pydantic ends the path of a bad name with a mark of its own, "[key]".
        location = (location[0], "*", *(part for part in location[2:] if part != "[key]"))
    return ".".join(str(part) for part in location) or "payload"


_NO_OBJECT = frozenset(("model_type", "dict_type"))
"""pydantic's names for the fault of a value that is to be a JSON object and is none."""


class Command(BaseModel):
    """The base of all payloads."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)

    expected: ClassVar[str] = 'expected one JSON object, such as {"channel": …}'
    """What is said of a payload that is no JSON object."""

    @classmethod
    def parse(cls, payload: object) -> Self:
        """Return the command; `BadRequest` naming the first wrong field, never repeating its content."""
        try:
            # What `model_validate` calls: it is the innermost step of every command.
            command: Self = cls.__pydantic_validator__.validate_python(payload)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = _path(first["loc"])
            problem = first["msg"].removeprefix("Value error, ")
            if first["type"] == "string_pattern_mismatch":
                problem = "holds control characters"
            elif first["type"] in _NO_OBJECT:  # pydantic would name our class
                problem = cls.expected if not first["loc"] else "expected a JSON object"
            raise BadRequest(f"{field}: {problem}", details={"field": field}) from None
        return command


def channel_of(payload: object) -> ChannelName | None:
    """Return the channel that a payload names, even if the payload is not valid; None if it names none."""
    name = payload.get("channel") if isinstance(payload, dict) else None
    if not isinstance(name, str) or len(name) > channels.MAX_CHANNEL_CHARS:
        return None
    try:
        return channel(name)
    except ValueError:
        return None


class SincePosition(Command):
    """A client's position in a channel."""

    epoch: Annotated[str, Field(min_length=1, max_length=MAX_EPOCH_CHARS)]
    offset: Offset

    @property
    def position(self) -> Position:
        """As a domain value."""
        return Position(self.epoch, self.offset)


class ResumedPosition(SincePosition):
    """A position from which a session comes back; `presence`: whether it is given presence events."""

    presence: bool | None = None


class ConnectPayload(Command):
    """The CONNECT payload (`auth`)."""

    token: Token
    inbox: Annotated[int, Field(ge=0, le=MAX_INBOX)] = 0
    resume: Annotated[dict[Channel, ResumedPosition], Field(max_length=MAX_RESUME_CHANNELS)] | None = None


class Join(Command):
    """`channel:join`."""

    channel: Channel
    since: SincePosition | None = None
    history: Annotated[int, Field(ge=0, le=MAX_JOIN_HISTORY)] | None = None
    presence: bool | None = None


class Leave(Command):
    """`channel:leave`."""

    channel: Channel


class Content(Command):
    """The text and the data of a message."""

    text: Text
    data: Json | None = None

    def clean_text(self) -> None:
        """Raise `BadRequest` if the text has control characters; end its lines by line feeds."""
        if has_controls(self.text):
            raise BadRequest("text: holds control characters other than tabs and line ends", details={"field": "text"})
        if "\r" in self.text:
            self.__dict__["text"] = with_line_feeds(self.text)

    @classmethod
    def parse(cls, payload: object) -> Self:
        """As `Command.parse`, with the characters of `text`, and the bound on `data` in bytes."""
        command = super().parse(payload)
        if not command.text.isprintable():  # most are, which is found out in a moment
            command.clean_text()
        if command.data is not None:
            check_size(command.data)
        return command


class Send(Content):
    """`message:send`."""

    channel: Channel
    reply_to: Id | None = None
    key: Key | None = None
    mentions: Mentions | None = None

    @property
    def mentioned(self) -> tuple[UserId, ...]:
        """The users that the message names, each once."""
        return tuple(map(UserId, self.mentions or ()))


class Edit(Content):
    """`message:edit`. An absent `data` keeps the old data, `null` removes it."""

    channel: Channel
    id: Id

    @property
    def keeps_data(self) -> bool:
        """Whether the command leaves `data` as it is."""
        return "data" not in self.model_fields_set


class Delete(Command):
    """`message:delete`."""

    channel: Channel
    id: Id


class ReadHistory(Command):
    """`history:read`; both bounds are exclusive."""

    channel: Channel
    before: Offset | None = None
    after: Offset | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE


class ReadPresence(Command):
    """`presence:read`."""

    channel: Channel


class Refresh(Command):
    """`auth:refresh`."""

    expected = 'expected one JSON object, such as {"token": …}'

    token: Token
