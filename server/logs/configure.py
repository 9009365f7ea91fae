"""Send all log lines of the process through one chain: structlog's and the standard library's."""

import logging
import sys
from io import TextIOWrapper
from typing import TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, WrappedLogger

from server.logs.handler import LineHandler, LineLogger
from server.logs.redaction import redact
from server.logs.rendering import Render, render_console, render_json

VERBOSE = ("engineio", "engineio.server", "engineio.client", "socketio", "socketio.server", "socketio.client")
"""Loggers that print packets, so also tokens, when they are let."""


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 the setting's own name
    """Send every line of this process to `stream` (standard output), from `level` (`debug` to `error`) up, as `json` or
    `console`. Call it once, before the first line: a logger that has been used keeps its way."""
    out = sys.stdout if stream is None else stream
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets its lines too
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json"
    line = _line(render_json if as_json else render_console(colours=out.isatty()))
    named = structlog.stdlib.add_logger_name
    handler = LineHandler(out, as_json=as_json)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[named, structlog.stdlib.ProcessorFormatter.remove_processors_meta, line]
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(number)
    logging.captureWarnings(True)
    _quiet(number)
    structlog.configure(
        # Past the standard library's records: they would double the cost of a line.
        processors=[named, line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda name="maru": LineLogger(name, handler),
        cache_logger_on_first_use=True,
    )


def _line(render: Render) -> Render:
    stack = structlog.processors.StackInfoRenderer()
    level_of, traceback_of = structlog.stdlib.add_log_level, structlog.processors.format_exc_info  # no local variables

    def line(logger: WrappedLogger, level: str, fields: EventDict) -> str:
        try:
            level_of(logger, level, fields)
            if "stack_info" in fields or "exc_info" in fields:
                fields = traceback_of(logger, level, stack(logger, level, fields))
            return render(logger, level, redact(logger, level, fields))
        except Exception as error:  # noqa: BLE001 a value that can't be shown must not fail the command it tells of
            return render(logger, level, {"level": "error", "event": "log.line_lost", "kind": type(error).__name__})

    return line


def _quiet(number: int) -> None:
    for name in VERBOSE:
        logger = logging.getLogger(name)
        # A level of their own also keeps these libraries from adding handlers of their own.
        logger.setLevel(max(number, logging.WARNING))
        logger.handlers = []
    logging.getLogger("aiohttp.access").disabled = True  # it prints query strings
    logging.getLogger("aiohttp.server").filters = [_quiet_malformed]


def _quiet_malformed(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is its sender's fault: one line, without the traceback that quotes it."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
