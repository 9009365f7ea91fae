"""The process's log chain, configured for one test."""

import logging
from collections.abc import Callable, Iterator
from io import StringIO
from typing import TextIO

import pytest
import structlog

from server.logs import configure as chain
from tests.doubles.lines import Lines


@pytest.fixture
def configure() -> Iterator[Callable[..., Lines]]:
    """Configure the lines for one test; the process's own logging comes back after it."""
    quiet = [logging.getLogger(name) for name in chain.VERBOSE]
    before = logging.root.level, [(logger, logger.level, logger.handlers) for logger in quiet]
    ours: list[logging.Handler] = []

    def start(level: str = "info", style: str = "json", stream: TextIO | None = None) -> Lines:
        written = StringIO()
        chain.configure(level, style, stream or written)
        ours.extend(logging.root.handlers)
        return Lines(written)

    yield start
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger("aiohttp.access").disabled = False
    logging.root.level = before[0]
    logging.root.handlers = [handler for handler in logging.root.handlers if handler not in ours]
    for logger, level, handlers in before[1]:
        logger.handlers = handlers
        logger.setLevel(level)


@pytest.fixture
def lines(configure: Callable[..., Lines]) -> Lines:
    """JSON lines from `info` up."""
    return configure()
