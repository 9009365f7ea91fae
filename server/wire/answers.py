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
    """The command failed."""

    error: MaruError


Answer = Done | Failed
"""How a command ends. Closed: match it exhaustively."""


def envelope(answer: Answer) -> Json:
    """The data of the ack."""
    if isinstance(answer, Done):
        return {"ok": True, **answer.fields}
    return {"ok": False, "error": errors.error(answer.error)}
