"""Write the log line of a command, faster than the general chain does.

There are thousands of these lines a second, all of the same shape. So a JSON line is put together from its parts, most
of which are cached. A test holds the line against `render_json`.
"""

import logging
from functools import lru_cache, partial
from typing import Protocol

import structlog

from server.logs.handler import LineHandler
from server.logs.redaction import clean
from server.logs.rendering import timestamp, to_json


class CommandLine(Protocol):
    """Writes a line: as `structlog.get_logger("maru.command").info("command", ...)` with these fields."""

    def __call__(
        self,
        *,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None: ...


def command_line() -> CommandLine:
    """Return the writer of a command's line. Call this after `configure`."""
    handler = next((handler for handler in logging.root.handlers if isinstance(handler, LineHandler)), None)
    if handler is None or not handler.as_json or logging.root.level > logging.INFO:
        return partial(structlog.get_logger("maru.command").bind().info, "command")

    def write(
        *,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None:
        handler.writer.put(
            f'{{"ts":"{timestamp()}","level":"info","event":"command","name":{_part(name)},"session":{_part(session)},'
            f'"user":{_part(user)},"channel":{_part(channel)},"offset":{"null" if offset is None else offset},'
            f'"outcome":{_part(outcome)},"ms":{ms},"logger":"maru.command"}}'
        )

    return write


@lru_cache(maxsize=8_192)
def _part(value: str | None) -> str:
    """Redact a text, and encode it as JSON. Cached: the same short texts stand in many lines."""
    return to_json(clean(value, 0))
