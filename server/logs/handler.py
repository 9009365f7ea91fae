"""Give log lines to their writer: structlog's, and the standard library's."""

import logging
import sys

import structlog

from server.logs.writing import Writer


class LineHandler(logging.Handler):
    """Gives whole lines to a writer. Lines from `warning` up are kept if lines must be dropped."""

    def __init__(self, writer: Writer, *, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json  # whether the lines of this process are JSON
        self.writer = writer

    def last_words(self, line: str) -> None:
        """Write a line that may be the process's last: wait for it, within bounds."""
        self.writer.keep(line)
        self.writer.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the standard library's."""
        try:
            line = self.format(record)
            if record.levelno >= logging.CRITICAL:
                self.last_words(line)
            elif record.levelno >= logging.WARNING:
                self.writer.keep(line)
            else:
                self.writer.put(line)
        except Exception:  # noqa: BLE001 as in every handler: code that logs must not fail because of its line
            self.handleError(record)

    def flush(self) -> None:
        """Wait for the lines, within bounds. The standard library calls this at the end of the process."""
        self.writer.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the standard library's name
        """Log that a line was lost. The standard library would print the record's arguments, unredacted."""
        structlog.get_logger(record.name).error("log.line_lost", kind=type(sys.exc_info()[1]).__name__)


class LineLogger:
    """The logger that structlog wraps."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, name: str, handler: LineHandler) -> None:
        self.name = name  # stands in every line, as `logger`
        self.debug = self.info = handler.writer.put  # structlog calls the method of the line's level
        self.warning = self.error = handler.writer.keep
        self.critical = handler.last_words
