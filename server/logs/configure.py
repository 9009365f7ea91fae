"""Send all log lines of the process through a single chain: structlog's and the standard library's."""

import logging
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, WrappedLogger

from server.logs.handler import LineHandler, LineLogger
from server.logs.redaction import redact
from server.logs.rendering import Render, render_console, render_json
from server.logs.writing import MOMENT_S, StreamWriter, ThreadWriter, Writer

VERBOSE = ("engineio", "engineio.server", "engineio.client", "socketio", "socketio.server", "socketio.client")
"""Loggers that print packets, and so tokens, at their levels below `warning`."""


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 the setting's own name
    """Send every line of this process to `stream`, as `json` or `console`. None is standard output, by a thread.

    `level` is the least severe level that is written, `debug` to `error`. Call this before the first line: a logger
    that has been used keeps its chain.
    """
    if sys.stdout is None:
        _open_standard_output()
    out = sys.stdout if stream is None else stream
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets its lines too
    number, as_json = logging.getLevelNamesMapping()[level.upper()], format == "json"
    line = _line(render_json if as_json else render_console(colours=out.isatty()))
    handler = LineHandler(StreamWriter(stream) if stream else _standard_output(line), as_json=as_json)
    _configure_standard_library(handler, number, line)
    structlog.configure(
        # These lines bypass the standard library's records, which would double the cost of a line.
        processors=[structlog.stdlib.add_logger_name, line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda name="maru": LineLogger(name, handler),
        cache_logger_on_first_use=True,
    )


def lines_dropped() -> int:
    """Return how many log lines of this process were lost."""
    return sum(handler.writer.dropped for handler in logging.root.handlers if isinstance(handler, LineHandler))


def flush_soon() -> None:
    """Wait a moment for the log lines of this process to be written: for an end that should be at once."""
    for handler in logging.root.handlers:
        if isinstance(handler, LineHandler):
            handler.writer.flush(MOMENT_S)


def _open_standard_output() -> None:
    """Send standard output nowhere: whoever started the process has closed it, and the next file or socket would take
    its descriptor."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != 1:
        os.dup2(nowhere, 1)
        os.close(nowhere)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # it stays open as long as the process lives


def _standard_output(line: Render) -> Writer:
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # it was replaced by a stream in memory
        return StreamWriter(sys.stdout)

    def report(count: int) -> str:
        return line(None, "warning", {"event": "log.dropped", "count": count, "logger": "maru.server"})

    return ThreadWriter(descriptor, report, sys.stdout.encoding)


def _line(render: Render) -> Render:
    """Make the last processor of the chain: level, traceback, redaction, then `render`."""
    stack = structlog.processors.StackInfoRenderer()
    # `format_exc_info` prints no local variables.
    level_of, traceback_of = structlog.stdlib.add_log_level, structlog.processors.format_exc_info

    def line(logger: WrappedLogger, level: str, fields: EventDict) -> str:
        try:
            level_of(logger, level, fields)
            if "stack_info" in fields or "exc_info" in fields:
                fields = traceback_of(logger, level, stack(logger, level, fields))
            return render(logger, level, redact(logger, level, fields))
        except Exception as error:  # noqa: BLE001 a value that can't be shown must not fail the command that logs it
            return render(logger, level, {"level": "error", "event": "log.line_lost", "kind": type(error).__name__})

    return line


def _configure_standard_library(handler: LineHandler, number: int, line: Render) -> None:
    formatter = structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(processors=[structlog.stdlib.add_logger_name, formatter.remove_processors_meta, line])
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(number)
    logging.captureWarnings(True)
    for name in VERBOSE:
        logger = logging.getLogger(name)
        # A level that is set also keeps these libraries from adding handlers.
        logger.setLevel(max(number, logging.WARNING))
        logger.handlers = []
    logging.getLogger("aiohttp.access").disabled = True  # it prints query strings
    logging.getLogger("aiohttp.server").filters = [FaultsOfStrangers(time.monotonic)]


MALFORMED_LINES = 10
"""Lines about malformed HTTP requests that are written in a second: anybody may send thousands."""


_MALFORMED = (HttpProcessingError, web.RequestPayloadError)


class FaultsOfStrangers:
    """Makes the line of a malformed request a warning without a traceback, which would quote the request. Drops the
    line of a client that was gone before its answer, and of malformed requests all but some in a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0  # in which lines are counted
        self._lines = 0  # about malformed requests, in this second

    def __call__(self, record: logging.LogRecord) -> bool:
        """Say whether a line is to be written."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionResetError):
            return False
        if not isinstance(error, _MALFORMED):
            return True
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        second = int(self._clock())
        self._lines = self._lines + 1 if second == self._second else 1
        self._second = second
        return self._lines <= MALFORMED_LINES
