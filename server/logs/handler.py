"""Write log lines to a stream: the lines of a turn of the event loop together."""

import asyncio
import logging
import sys
from collections import deque
from contextlib import nullcontext, suppress
from typing import TextIO

import structlog

MAX_GATHERED = 256
"""Bound of the lines that wait for the end of a turn of the event loop. At the bound they are written at once."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes whole lines. A line that can't be written is lost: its reader is gone, or its disk is full."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self.as_json = as_json  # whether the lines of this process are JSON
        self._gathered: deque[str] = deque()  # lines that wait for the end of the turn; if any do, `flush` is scheduled

    def gather(self, line: str) -> None:
        """Write the line at the end of this turn of the event loop, together with the other lines of the turn.

        So a busy server makes a system call per turn, and not per command. Without a running loop the line is
        written at once.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or no loop yet
            self.write(line)
            return
        if not self._gathered:
            loop.call_soon(self.flush)
        self._gathered.append(line)
        if len(self._gathered) >= MAX_GATHERED:
            self.flush()

    def write(self, line: str) -> None:
        """Write the gathered lines and then this line, now."""
        self._write_out(line)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the standard library's."""
        try:
            self.write(self.format(record))
        except Exception:  # noqa: BLE001 as in every handler: code that logs must not fail because of its line
            self.handleError(record)

    def flush(self) -> None:
        """Write the gathered lines."""
        self._write_out()

    def _write_out(self, *last: str) -> None:
        # `last` is not put among the gathered lines: only `gather` schedules the flush that they wait for.
        with self.lock or nullcontext(), suppress(OSError, ValueError):
            lines = [self._gathered.popleft() for _ in range(len(self._gathered))]
            lines += last
            if lines:
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the standard library's name
        """Log that a line was lost. The standard library would print the record's arguments, unredacted."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            structlog.get_logger(record.name).error("log.line_lost", kind=type(error).__name__)


class LineLogger:
    """The logger that structlog wraps. Lines from `warning` up are written at once: they may be a process's last."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, name: str, handler: LineHandler) -> None:
        self.name = name  # stands in every line, as `logger`
        self.debug = self.info = handler.gather  # structlog calls the method of the line's level
        self.warning = self.error = self.critical = handler.write
