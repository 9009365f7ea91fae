"""Write log lines to a stream: the lines of one turn of the event loop together."""

import asyncio
import logging
import sys
from collections import deque
from contextlib import nullcontext, suppress
from typing import TextIO

import structlog

MAX_GATHERED = 256
"""Lines that wait for the end of a turn of the event loop; then they are written within it."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes whole lines. One that can't be written is lost: its reader is gone, or its disk is full."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self.as_json = as_json  # whether the lines of this process are JSON
        self._gathered: deque[str] = deque()

    def gather(self, line: str) -> None:
        """Write the line at the end of this turn of the event loop, in one piece with the others of the turn; at once
        where no loop runs. So a busy server makes one system call a turn, and not one a command."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or none yet
            self.write(line)
            return
        if not self._gathered:  # else somebody has asked for the end of the turn
            loop.call_soon(self.flush)
        self._gathered.append(line)
        if len(self._gathered) >= MAX_GATHERED:
            self.flush()

    def write(self, line: str) -> None:
        """Write the line now, behind those that were gathered."""
        self._write_out(line)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the standard library's."""
        try:
            self.write(self.format(record))
        except Exception:  # noqa: BLE001 as every handler: what a line tells of must not fail because of it
            self.handleError(record)

    def flush(self) -> None:
        """Write what was gathered."""
        self._write_out()

    def _write_out(self, *last: str) -> None:
        # A last line never stands among the gathered ones: those are a promise that the turn's end will be asked for.
        with self.lock or nullcontext(), suppress(OSError, ValueError):
            lines = [self._gathered.popleft() for _ in range(len(self._gathered))]
            lines += last
            if lines:
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the standard library's name
        """The standard way prints the record's arguments, unredacted."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            structlog.get_logger(record.name).error("log.line_lost", kind=type(error).__name__)


class LineLogger:
    """What structlog writes with. What may be the last words of a process is not kept waiting."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, name: str, handler: LineHandler) -> None:
        self.name = name
        self.debug = self.info = handler.gather
        self.warning = self.error = self.critical = handler.write
