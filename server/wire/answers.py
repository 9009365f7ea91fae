"""Answers to commands: a value until the last moment, then a JSON envelope (PROTOCOL.md, "Acks")."""

from server.domain.errors import MaruError
from server.domain.values import value
from server.wire import errors
from server.wire.words import Json


@value
class Done:
    """The command was done. `fields` stand beside `ok` in the ack; `offset` is for the log line."""

    fields: Json
    offset: int | None = None


@value
class Failed:
    """The command failed. The error loses its traceback, and so do its causes: the frames in them keep the answer, and
    with it the client's payload, until the next collection of garbage."""

    error: MaruError

    def __post_init__(self) -> None:
        error: BaseException | None = self.error
        while error is not None:
            error.__traceback__ = None
            error = error.__cause__ or error.__context__


Answer = Done | Failed
"""How a command ends. Closed: match it exhaustively."""


def envelope(answer: Answer) -> Json:
    """The data of the ack."""
    if isinstance(answer, Done):
        return {"ok": True, **answer.fields}
    return {"ok": False, "error": errors.error(answer.error)}
