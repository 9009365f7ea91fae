"""Write the log line of a command, faster than the general chain does."""

import logging
from functools import lru_cache, partial
from typing import Protocol

import structlog

from server.logs.handler import LineHandler
from server.logs.redaction import clean
from server.logs.rendering import timestamp, to_json


class CommandLine(Protocol):
    """The one line of a command: as `structlog.get_logger("maru.command").info("command", ...)`."""

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
    """How commands are told of, after `configure`. There are thousands of these lines a second, all of one shape: so
    JSON is put together from its parts, most of which have been made for lines before."""
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
        handler.gather(
            f'{{"ts":"{timestamp()}","level":"info","event":"command","name":{_part(name)},"session":{_part(session)},'
            f'"user":{_part(user)},"channel":{_part(channel)},"offset":{"null" if offset is None else offset},'
            f'"outcome":{_part(outcome)},"ms":{ms},"logger":"maru.command"}}'
        )

    return write


@lru_cache(maxsize=8_192)
def _part(value: str | None) -> str:
    """A text as it stands in a line of JSON, or nothing. For texts that are short, and come again."""
    return to_json(clean(value, 0))
