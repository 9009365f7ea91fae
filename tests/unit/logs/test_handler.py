"""Lines of structlog and of the standard library go to one writer, each by its level."""

import asyncio
import json
import logging
from collections.abc import Callable

import structlog

from tests.doubles.lines import Lines


def test_a_stream_that_is_closed_costs_the_line_only(configure: Callable[..., Lines]) -> None:
    """It raises neither from structlog nor from the standard library."""
    lines = configure()
    lines.stream.close()
    structlog.get_logger("maru.test").info("event")
    logging.getLogger("asyncio").error("event")


async def test_all_lines_are_in_one_order(lines: Lines) -> None:
    """Whichever library, level and thread they come from."""
    log = structlog.get_logger("maru.test").bind()
    log.info("one")
    log.warning("two")
    logging.getLogger("asyncio").error("three")
    logging.getLogger("asyncio").info("four")
    await asyncio.to_thread(log.info, "five")
    logging.getLogger("asyncio").critical("six")
    log.critical("seven")
    written = [json.loads(line)["event"] for line in lines.text.splitlines()]
    assert written == ["one", "two", "three", "four", "five", "six", "seven"]
