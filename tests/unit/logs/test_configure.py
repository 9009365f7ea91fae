"""The chain: every line takes it, whichever library writes the line."""

import logging
import re
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from io import BytesIO, TextIOWrapper

import jwt
import structlog

from server.logs import configure as chain
from server.logs.redaction import REDACTED
from tests.doubles.lines import Lines


def test_a_line_is_one_json_object(lines: Lines) -> None:
    """`ts`, `level`, `event` come first, then the logger and the fields; the time is UTC, in milliseconds."""
    structlog.get_logger("maru.test").info("message:send", channel="room:1", offset=7, ms=1.5, ok=True, error=None)
    assert lines.text.count("\n") == 1
    assert list(lines.last)[:3] == ["ts", "level", "event"]
    assert lines.last | {"ts": ""} == {
        "ts": "",
        "level": "info",
        "event": "message:send",
        "logger": "maru.test",
        "channel": "room:1",
        "offset": 7,
        "ms": 1.5,
        "ok": True,
        "error": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines.last["ts"])
    assert abs(datetime.fromisoformat(lines.last["ts"]).timestamp() - time.time()) < 10


def test_the_standard_library_writes_the_same_lines(lines: Lines) -> None:
    """aiohttp's and asyncio's lines have the same shape."""
    logging.getLogger("aiohttp.server").error("Error handling %s", "request")
    assert lines.last["level"] == "error"
    assert lines.last["logger"] == "aiohttp.server"
    assert lines.last["event"] == "Error handling request"


def test_levels_hold_for_both(configure: Callable[..., Lines]) -> None:
    """Less severe lines are not written."""
    lines = configure("warning")
    structlog.get_logger("maru.test").info("quiet")
    logging.getLogger("asyncio").info("quiet")
    assert lines.text == ""
    structlog.get_logger("maru.test").warning("loud")
    assert lines.last["level"] == "warning"


def test_libraries_that_print_packets_stay_quiet(configure: Callable[..., Lines]) -> None:
    """Also at `debug`; and aiohttp's access log, which prints query strings, is off."""
    lines = configure("debug")
    for name in chain.VERBOSE:
        logging.getLogger(name).info("received packet MESSAGE data secret")
    logging.getLogger("aiohttp.access").error("GET /?token=x")
    assert lines.text == ""
    logging.getLogger("engineio.server").warning("worth a line")
    assert lines.last["event"] == "worth a line"


TOKEN = jwt.encode({"sub": "canary", "exp": 2_000_000_000}, "a secret of the tests, longer than 32 bytes", "HS256")
HEADER, CLAIMS, SIGNATURE = TOKEN.split(".")


class Colour(StrEnum):
    """Some enum."""

    RED = "red"


class Unshowable:
    """Fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("canary")


def test_any_value_gives_a_line(lines: Lines) -> None:
    """Enums, sets, lone surrogates, not-a-number, and objects that can't be shown never raise into the caller."""
    log = structlog.get_logger("maru.test")
    log.info("event", colour=Colour.RED, some={1}, bad="\ud800", number=float("nan"), path=None, raw=b"\xff")
    assert lines.last["colour"] == "red"
    assert lines.last["some"] == [1]
    assert lines.last["bad"] == "\ud800"
    log.info("event", value=Unshowable())
    assert lines.last["event"] == "log.line_lost"
    assert lines.last["kind"] == "RuntimeError"
    record = logging.LogRecord("asyncio", logging.ERROR, __file__, 1, "%d", (TOKEN,), None)
    logging.root.handlers[0].handle(record)  # past pytest's own handler, which raises
    assert lines.last["event"] == "log.line_lost"
    assert CLAIMS not in lines.text


def test_warnings_are_lines(lines: Lines) -> None:
    """And redacted like all others."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"odd {TOKEN}", stacklevel=1)
    assert lines.last["logger"] == "py.warnings"
    assert f"odd {REDACTED}" in lines.last["event"]


def test_a_stream_without_utf_8_gets_its_lines(configure: Callable[..., Lines]) -> None:
    """What it can't write is escaped."""
    raw = BytesIO()
    configure(stream=TextIOWrapper(raw, encoding="ascii"), style="console")
    structlog.get_logger("maru.test").info("마루")
    assert b"\\ub9c8\\ub8e8" in raw.getvalue()
