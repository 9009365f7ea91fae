"""Writing: a turn's lines in one piece, in order, and bounded."""

import asyncio
import json
import logging
from collections.abc import Callable

import structlog

from server.logs.handler import MAX_GATHERED
from tests.doubles.lines import Lines


def test_a_reader_that_is_gone_costs_the_line_only(configure: Callable[..., Lines]) -> None:
    """A closed stream raises neither from structlog nor from the standard library."""
    lines = configure()
    lines.stream.close()
    structlog.get_logger("maru.test").info("event")
    logging.getLogger("asyncio").error("event")


async def test_the_lines_of_a_turn_are_written_together(lines: Lines) -> None:
    """In their order, at the turn's end; a warning, or the standard library, writes all that came before it at once."""
    log = structlog.get_logger("maru.test").bind()
    log.info("one")
    log.info("two")
    assert lines.text == ""
    await asyncio.sleep(0)
    log.info("three")
    log.warning("four")
    log.info("five")
    logging.getLogger("asyncio").error("six")
    log.info("seven")
    await asyncio.to_thread(log.info, "eight")
    written = [json.loads(line)["event"] for line in lines.text.splitlines()]
    assert written == ["one", "two", "three", "four", "five", "six", "seven", "eight"]


async def test_what_waits_for_the_end_of_a_turn_is_bounded(lines: Lines) -> None:
    """A turn that never ends keeps its lines from nobody."""
    for number in range(MAX_GATHERED * 2 + 1):
        structlog.get_logger("maru.test").info("event", number=number)
    assert [json.loads(line)["number"] for line in lines.text.splitlines()] == list(range(MAX_GATHERED * 2))


def test_a_loop_that_ends_keeps_no_lines(lines: Lines) -> None:
    """What the last turn said is written by whatever comes next, or by the end of the process."""

    async def speak(word: str) -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
        structlog.get_logger("maru.test").info(word)
        await asyncio.Event().wait()

    for word in ("one", "two"):
        loop = asyncio.new_event_loop()
        speaking = loop.create_task(speak(word))
        loop.run_forever()
        speaking.cancel()
        loop.run_until_complete(asyncio.wait([speaking]))
        loop.close()
    logging.root.handlers[0].flush()
    assert [json.loads(line)["event"] for line in lines.text.splitlines()] == ["one", "two"]
