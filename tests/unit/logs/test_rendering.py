"""Lines for machines and for people: none of them forged by a value."""

import logging
import re
from collections.abc import Callable
from io import StringIO

import pytest
import structlog

from tests.doubles.lines import Lines

FORGERY = 'x\n{"level":"info"}\r\x1b[2K\x85\u2028\u2029\u202e\x7f\0'


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_value_forges_a_line(configure: Callable[..., Lines], style: str) -> None:
    """Line breaks of any kind, escape codes and changes of direction are escaped, in events, keys and values."""
    lines = configure(style=style)
    structlog.get_logger("maru.test").info(FORGERY, value=FORGERY, **{FORGERY: [FORGERY]})
    logging.getLogger("aiohttp.server").warning("from %s", FORGERY)
    assert len(lines.text.splitlines()) == 2
    assert not set("\r\x1b\x85\u2028\u2029\u202e\x7f\0") & set(lines.text)


def test_an_errors_text_forges_no_line_on_the_console(configure: Callable[..., Lines]) -> None:
    """A traceback stands indented under its line."""
    lines = configure(style="console")
    try:
        raise ValueError("x\n12:00:00.000 info    forged")
    except ValueError:
        structlog.get_logger("maru.test").exception("failed")
    head, *rest = lines.text.splitlines()
    assert head.endswith("failed logger=maru.test")
    assert all(line.startswith("    ") for line in rest)


def test_the_console_is_for_people(configure: Callable[..., Lines]) -> None:
    """Time, level, event, then the fields; quotes only where they are needed; colours only on a terminal."""
    lines = configure(style="console")
    structlog.get_logger("maru.test").info("message:send", channel="room:1", text="two words", n=3, none=None)
    shown = 'info    message:send channel=room:1 text="two words" n=3 none=null logger=maru.test'
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{3}} {re.escape(shown)}\n", lines.text)

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure(stream=terminal, style="console")
    structlog.get_logger("maru.test").warning("event")
    assert "\x1b[33mwarning\x1b[0m event" in terminal.getvalue()
