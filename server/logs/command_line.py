"""Write the log line of a command, faster than the general chain does.

There are thousands of these lines a second, all of the same shape. So a JSON line is put together from its parts: the
time is made once a millisecond, and the parts that a session's commands in a channel share are made once. A test holds
the line against `render_json`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import structlog

from server.logs.handler import LineHandler
from server.logs.redaction import clean
from server.logs.rendering import timestamp_at, to_json
from server.logs.sampling import Sample

CACHED_HEADS = 8_192
"""Bound of the beginnings of lines that are kept: one for each session, channel and command."""

CACHED_TAILS = 2_048
"""Bound of the ends of lines that are kept: most times are a few milliseconds, given in hundredths."""


class CommandLine(Protocol):
    """Writes a line: as `structlog.get_logger("maru.command").info("command", ...)` with these fields.

    The fields may be given by name, or, which is cheaper, in this order.
    """

    def __call__(
        self,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None: ...


def command_line(per_second: int = 0) -> CommandLine:
    """Return the writer of a command's line. Call this after `configure`.

    With `per_second`, about so many lines of a session are written each second, see `Sample`; the event loop must run.
    """
    write = _every_line()
    return Sample(write, per_second, asyncio.get_running_loop().call_later).line if per_second else write


def _every_line() -> CommandLine:
    handler = next((handler for handler in logging.root.handlers if isinstance(handler, LineHandler)), None)
    if handler is None or not handler.as_json or logging.root.level > logging.INFO:
        return _by_the_chain()
    return _json_lines(handler.writer.put)


def _by_the_chain() -> CommandLine:
    info = structlog.get_logger("maru.command").bind().info

    def write(
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None:
        info("command", name=name, session=session, user=user, channel=channel, offset=offset, outcome=outcome, ms=ms)

    return write


def _json_lines(put: Callable[[str], None]) -> CommandLine:
    last_ms, ts = 0, ""
    now_ns, head, tail = time.time_ns, _head, _tail

    def write(
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None:
        nonlocal last_ms, ts
        now_ms = now_ns() // 1_000_000
        if now_ms != last_ms:
            last_ms, ts = now_ms, f'{{"ts":"{timestamp_at(now_ms)}"'
        put(f"{ts}{head(name, session, user, channel)}{'null' if offset is None else offset}{tail(outcome, ms)}")

    return write


@lru_cache(maxsize=CACHED_HEADS)
def _head(name: str, session: str, user: str | None, channel: str | None) -> str:
    return (
        f',"level":"info","event":"command","name":{_part(name)},"session":{_part(session)},"user":{_part(user)},'
        f'"channel":{_part(channel)},"offset":'
    )


@lru_cache(maxsize=CACHED_TAILS)
def _tail(outcome: str, ms: float) -> str:
    return f',"outcome":{_part(outcome)},"ms":{ms},"logger":"maru.command"}}'


def _part(value: str | None) -> str:
    """Redact a text, and encode it as JSON."""
    return to_json(clean(value, 0))
