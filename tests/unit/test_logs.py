"""Lines: their shape, and that no credential and no forged line gets into them, by whatever way."""

import asyncio
import base64
import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any, TextIO
from urllib.parse import quote

import jwt
import pytest
import structlog

from server.logs import configure as chain
from server.logs.command_line import command_line
from server.logs.handler import MAX_GATHERED
from server.logs.redaction import MAX_ITEMS, MAX_VALUE_CHARS, REDACTED, redact

TOKEN = jwt.encode({"sub": "canary", "exp": 2_000_000_000}, "a secret of the tests, longer than 32 bytes", "HS256")
HEADER, CLAIMS, SIGNATURE = TOKEN.split(".")


class Lines:
    """What was written, parsed."""

    def __init__(self, stream: StringIO) -> None:
        self.stream = stream

    @property
    def text(self) -> str:
        """As it was written."""
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        """The fields of the last line; fails where there is none."""
        fields: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return fields


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


PRIVATE = [
    "token",
    "access_token",
    "accessToken",
    "Authorization",
    "auth",
    "jwt_secret",
    "password",
    "Set-Cookie",
    "query",
    "query_string",
    "api_key",
    "X-API-Key",
]


@pytest.mark.parametrize("key", PRIVATE)
def test_private_fields_are_masked(lines: Lines, key: str) -> None:
    """By their name, also within a mapping, whatever they hold."""
    structlog.get_logger("maru.test").info("event", **{key: "canary", "headers": {key: ["canary"]}})
    assert "canary" not in lines.text
    assert lines.last[key] == REDACTED
    assert lines.last["headers"] == {key: REDACTED}


def test_other_fields_are_not(lines: Lines) -> None:
    """Names that only look alike are written."""
    fields = {"author": "alice", "key": "k-1", "keys": [1], "session": "s", "user": "u", "authored": 1}
    structlog.get_logger("maru.test").info("event", **fields)
    assert fields.items() <= lines.last.items()


SHAPES: dict[str, Any] = {
    "alone": TOKEN,
    "in text": f"can't parse {TOKEN!r} at 7",
    "glued to text": f"token_{TOKEN}",
    "in a packet": f'0/chat,{{"token":"{TOKEN}"}}',
    "in a URL": f"/socket.io/?EIO=4&token={TOKEN}&transport=websocket",
    "percent-encoded dots": TOKEN.replace(".", "%2E"),
    "percent-encoded dots, lower case": TOKEN.replace(".", "%2e"),
    "in a quoted URL": quote(f'{{"token":"{TOKEN}"}}'),
    "percent-encoded twice": quote(quote(TOKEN).replace(".", "%2E")),
    "percent-encoded whole": "".join(f"%{byte:02x}" for byte in TOKEN.encode()),
    "without its signature": f"{HEADER}.{CLAIMS}",
    "with an empty signature": f"{HEADER}.{CLAIMS}.",
    "with padding": f"{HEADER}=.{CLAIMS}==.{SIGNATURE}=",
    "spaced JSON": ".".join(base64.urlsafe_b64encode(part).decode() for part in (b'{ "alg":"HS256"}', b'{\n"sub":1}')),
    "bytes": TOKEN.encode(),
    "in bytes, in a list": [b"GET /?x=" + TOKEN.encode()],
    "in a mapping": {"a": {"b": [1, (TOKEN,)]}},
    "as a mapping's key": {TOKEN: 1},
    "in an object's text": ValueError(TOKEN),
    "twice": f"{TOKEN} {TOKEN}",
    "after much": "x" * 100_000 + f" {TOKEN}",
    "over the cut": "x" * (MAX_VALUE_CHARS // 2 - 20) + f" {TOKEN} " + "x" * MAX_VALUE_CHARS,
    "bearer": f"Authorization: Bearer {SIGNATURE}",
    "parameter": f"GET /socket.io/?access_token={SIGNATURE} HTTP/1.1",
}


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_is_redacted_wherever_it_stands(configure: Callable[..., Lines], shape: str, style: str) -> None:
    """In the event, in any field, by either library: no part of it is written, and the mask is."""
    lines = configure(style=style)
    value = SHAPES[shape]
    structlog.get_logger("maru.test").info("event", value=value)
    structlog.get_logger("maru.test").info(str(value))
    logging.getLogger("aiohttp.server").warning("from %s", value)
    logging.getLogger("aiohttp.server").warning("fields", extra={"value": value})
    assert lines.text.count(REDACTED) >= 3
    for part in (CLAIMS, SIGNATURE, CLAIMS[:16], SIGNATURE[-16:]):
        assert part not in lines.text
        assert "".join(f"%{byte:02x}" for byte in part.encode()) not in lines.text


@pytest.mark.parametrize("style", ["json", "console"])
def test_tracebacks_hold_no_token_and_no_locals(configure: Callable[..., Lines], style: str) -> None:
    """The error's text is redacted, its cause's too, and local variables are not printed."""
    lines = configure(style=style)

    def fail(local: str) -> None:
        try:
            raise KeyError(local)
        except KeyError as error:
            raise ValueError(f"bad token {local}") from error

    for log in (structlog.get_logger("maru.test"), logging.getLogger("asyncio")):
        try:
            fail(TOKEN)
        except ValueError:
            log.exception("failed")
    assert lines.text.count("Traceback") == 4
    assert lines.text.count(f"bad token {REDACTED}") == 2
    assert CLAIMS not in lines.text
    assert "local = " not in lines.text


def test_what_looks_alike_is_not_redacted(lines: Lines) -> None:
    """Dotted names, versions, questions and percentages are written as they are."""
    for text in ("server.gateway.connection", "key.eyebrow.ewe", "0.1.0", "why? because=no", "100%", "50%2E"):
        structlog.get_logger("maru.test").info("event", value=text)
        assert lines.last["value"] == text


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


def test_values_are_bounded(lines: Lines) -> None:
    """A long text keeps its ends, a long list its beginning, deep nesting its top, a giant number its size."""
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    structlog.get_logger("maru.test").info(
        "event", text="a" * 50_000 + "z", items=list(range(1_000)), deep=deep, number=10**5_000
    )
    assert len(lines.last["text"]) < MAX_VALUE_CHARS + 50
    assert lines.last["text"].startswith("aaa")
    assert lines.last["text"].endswith("az")
    assert lines.last["items"] == list(range(MAX_ITEMS))
    assert "…" in json.dumps(lines.last["deep"], ensure_ascii=False)
    assert len(lines.text) < 4 * MAX_VALUE_CHARS


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


def test_a_reader_that_is_gone_costs_the_line_only(configure: Callable[..., Lines]) -> None:
    """A closed stream raises neither from structlog nor from the standard library."""
    lines = configure()
    lines.stream.close()
    structlog.get_logger("maru.test").info("event")
    logging.getLogger("asyncio").error("event")


COMMANDS = {
    "sent": {"user": "alice", "channel": "room:1", "offset": 7, "outcome": "ok", "ms": 1.25},
    "nothing known": {"user": None, "channel": None, "offset": None, "outcome": "unknown_event", "ms": 0.0},
    "hostile": {
        "user": 'a"\\\n\u2028\x7f\ud800é' + TOKEN,
        "channel": "a" * 128,
        "offset": 2**53,
        "outcome": "ok",
        "ms": 9e9,
    },
}


@pytest.mark.parametrize("fields", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_commands_line_is_as_any_other(configure: Callable[..., Lines], style: str, fields: dict[str, Any]) -> None:
    """However fast it is made: the same fields in the same order, redacted and escaped alike; above `info`, none."""
    lines = configure(style=style)
    command_line()(name="message:send", session="s1", **fields)
    structlog.get_logger("maru.command").info("command", name="message:send", session="s1", **fields)
    fast, usual = (re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "", line) for line in lines.text.splitlines())
    if style == "console":
        assert fast == usual
    else:
        assert list(json.loads(fast).items()) == list(json.loads(usual).items())
    assert TOKEN not in fast
    assert fast.isascii() or fast == usual
    quiet = configure("warning", style)
    command_line()(name="message:send", session="s1", **fields)
    assert quiet.text == ""


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


def test_a_stream_without_utf_8_gets_its_lines(configure: Callable[..., Lines]) -> None:
    """What it can't write is escaped."""
    raw = BytesIO()
    configure(stream=TextIOWrapper(raw, encoding="ascii"), style="console")
    structlog.get_logger("maru.test").info("마루")
    assert b"\\ub9c8\\ub8e8" in raw.getvalue()


SLOW = {"ey": 32_768, "ey.": 20_000, "?": 65_536, "%65": 20_000, "a.eyJ": 13_000, "bearer ": 9_000}


@pytest.mark.parametrize("piece", SLOW)
def test_redaction_is_linear(piece: str) -> None:
    """A payload's worth of text that was made to be slow takes a fraction of a second."""
    begin = time.perf_counter()
    redact(None, "info", {"value": piece * SLOW[piece]})
    assert time.perf_counter() - begin < 1


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
