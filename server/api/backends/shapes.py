"""Shapes of answers that several operations have: `server.wire` makes the JSON, these describe it."""

from typing import Any

from pydantic import Field

from server.api.backends.table import Answer


class UserState(Answer):
    """A user, with their name at that time."""

    id: str
    name: str | None


class WrittenState(Answer):
    """A message as it is now."""

    id: str
    channel: str
    author: UserState
    text: str
    data: dict[str, Any] | None
    reply_to: str | None
    key: str | None
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    edited_at: str | None
    edited_by: UserState | None = Field(default=None, description="There if a moderator or a backend made the edit.")
    version: int
    mentions: list[str]
    reactions: dict[str, Any]
    offset: int


class DeletedState(Answer):
    """The place of a deleted message."""

    id: str
    channel: str
    deleted: bool
    deleted_by: UserState | None = Field(default=None, description="There if a moderator or a backend deleted it.")
    offset: int


MessageState = WrittenState | DeletedState


class ErrorState(Answer):
    """Why a request, or a part of it, was not done."""

    code: str = Field(description="A code of the closed table.")
    message: str = Field(description="For people.")
    retryable: bool = Field(description="Whether the same request may succeed later, unchanged.")
    retry_after_ms: int | None = Field(default=None, description="Wait this long before a retry.")
    details: dict[str, Any] | None = None


class ErrorAnswer(Answer):
    """The body of every answer that is an error."""

    error: ErrorState
