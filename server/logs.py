"""Log lines: structlog's and the standard library's through one chain, and no credential in any of them.

JSON is one object a line: `ts`, `level`, `event`, then the fields. What a stranger sent can't forge a line, and no
value is longer than `MAX_VALUE_CHARS`. Redaction is the last line of defence: who logs leaves payloads and tokens out.
"""

import asyncio
import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from io import TextIOWrapper
from itertools import islice, pairwise
from typing import Any, Protocol, TextIO
from urllib.parse import unquote

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, WrappedLogger

Render = Callable[[WrappedLogger, str, EventDict], str]

REDACTED = "[redacted]"

MAX_VALUE_CHARS = 8 * 1024
"""Of one text in a line; a longer one keeps its two ends, where a traceback says what and where."""

SHORT_CHARS = 128
"""Up to this length it is remembered what became of a text in a line."""

MAX_GATHERED = 256
"""Lines that wait for the end of a turn of the event loop; then they are written within it."""

MAX_ITEMS = 100
"""Of one mapping or list in a line."""

MAX_DEPTH = 5
"""Of mappings and lists within each other."""

MAX_INT = 2**63

VERBOSE = ("engineio", "engineio.server", "engineio.client", "socketio", "socketio.server", "socketio.client")
"""Loggers that print packets, so also tokens, when they are let."""

_PRIVATE_KEY = re.compile(
    r"token|secret|passw|credential|cookie|authorization|(?:^|[_-])(?:auth|query|jwt|bearer|api[_-]?keys?)(?:$|[_-])",
    re.IGNORECASE,
)
# Every run is taken once, from its start: text made to be slow (`eyeyey...`) costs no more than other text.
_DOTTED = re.compile(r"(?<![\w=-])[\w=-]++(?:(?:\.|%2E)[\w=-]*+)+", re.ASCII | re.IGNORECASE)
_DOT = re.compile(r"\.|%2E", re.IGNORECASE)
_QUERY = re.compile(r"\?[\w%.~\[\]-]{1,64}=[^\s\"'<>]*")
_BEARER = re.compile(r"(bearer)\s+[^\s\"',]+", re.IGNORECASE)
# What ends a line somewhere, moves a terminal's cursor, or turns the direction of writing; and lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE = re.compile(r"[^\s\"'=\\]+")

_MIN_HEADER_CHARS = 12
"""Of a token's first part: no JOSE header is shorter."""

_COLOURS = {"debug": 36, "info": 32, "warning": 33, "error": 31, "critical": 31}


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 the setting's own name
    """Send every line of this process to `stream` (standard output), from `level` (`debug` to `error`) up, as `json` or
    `console`. Call it once, before the first line: a logger that has been used keeps its way."""
    out = sys.stdout if stream is None else stream
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets its lines too
    number = logging.getLevelNamesMapping()[level.upper()]
    line = _line(render_json if format == "json" else _console(colours=out.isatty()))
    named = structlog.stdlib.add_logger_name
    handler = _Handler(out)
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
        logger_factory=lambda name="maru": _Lines(name, handler),
        cache_logger_on_first_use=True,
    )
    global _plain  # noqa: PLW0603  # as structlog's and the standard library's own configuration
    _plain = handler if format == "json" and number <= logging.INFO else None


_plain: "_Handler | None" = None
"""Where lines of JSON from `info` up go."""


class CommandLine(Protocol):
    """The one line of a command: as `structlog.get_logger("maru.command").info("command", ...)`."""

    def __call__(
        self,
        *,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None: ...


def command_line() -> CommandLine:
    """How commands are told of, after `configure`. There are thousands of these lines a second, all of one shape: so
    JSON is put together from its parts, most of which have been made for lines before."""
    handler = _plain
    if handler is None:
        return partial(structlog.get_logger("maru.command").bind().info, "command")

    def write(
        *,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None:
        handler.gather(
            f'{{"ts":"{_stamp()}","level":"info","event":"command","name":{_part(name)},"session":{_part(session)},'
            f'"user":{_part(user)},"channel":{_part(channel)},"offset":{"null" if offset is None else offset},'
            f'"outcome":{_part(outcome)},"ms":{ms},"logger":"maru.command"}}'
        )

    return write


@lru_cache(maxsize=8_192)
def _part(value: str | None) -> str:
    """A text as it stands in a line of JSON, or nothing. For texts that are short, and come again."""
    return _json(_clean(value, 0))


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


class _Handler(logging.StreamHandler[TextIO]):
    """Writes whole lines. One that can't be written is lost: its reader is gone, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
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


class _Lines:
    """What structlog writes with. What may be the last words of a process is not kept waiting."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, name: str, handler: _Handler) -> None:
        self.name = name
        self.debug = self.info = handler.gather
        self.warning = self.error = self.critical = handler.write


def redact(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Mask fields with private names, and whatever looks like a token in any text; bound every value."""
    cleaned: EventDict = {}
    for key, value in fields.items():
        if _is_private(key):
            cleaned[key] = REDACTED
        elif type(value) is str and len(value) <= SHORT_CHARS:
            cleaned[key] = _short(value)  # as `_clean` does, without a call: most values are
        else:
            cleaned[key] = _clean(value, 0)
    return cleaned


@lru_cache(maxsize=1_024)
def _is_private(key: str) -> bool:
    return _PRIVATE_KEY.search(key) is not None


def _clean(value: object, depth: int) -> object:
    kind = type(value)
    if kind is str:
        # `kind is str` says that it is text, faster than isinstance.
        return _short(value) if len(value) <= SHORT_CHARS else _text(value)  # type: ignore[arg-type]
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -MAX_INT <= value < MAX_INT else _text(hex(value))  # type: ignore[operator,arg-type] # as above
    if isinstance(value, bytes | bytearray):
        return _text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return "…" if depth >= MAX_DEPTH else _nested(value, depth + 1)
    return _text(str(value))


def _nested(value: Mapping[Any, Any] | Collection[Any], depth: int) -> object:
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    return [_clean(item, depth) for item in islice(value, MAX_ITEMS)]


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, object]:
    names = ((_text(str(key)), item) for key, item in islice(value.items(), MAX_ITEMS))
    return {name: REDACTED if _is_private(name) else _clean(item, depth) for name, item in names}


@lru_cache(maxsize=8_192)
def _short(text: str) -> str:
    """As `_text`: names, users and channels come again and again."""
    return _text(text)


def _text(text: str) -> str:
    """The text without credentials, cut to size."""
    if ("ey" in text or "ew" in text) and ("." in text or "%" in text):
        text = _DOTTED.sub(_mask, text)
    if "%" in text and _holds_token(unquote(unquote(text))):
        return REDACTED
    if "?" in text:
        text = _QUERY.sub(f"?{REDACTED}", text)
    if "earer" in text or "EARER" in text:
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    if len(text) > MAX_VALUE_CHARS:
        end = MAX_VALUE_CHARS // 2
        text = f"{text[:end]}…[{len(text) - 2 * end} characters cut]…{text[-end:]}"
    return text


def _mask(found: re.Match[str]) -> str:
    return REDACTED if _is_token(found[0]) else found[0]


def _holds_token(text: str) -> bool:
    return any(_is_token(found[0]) for found in _DOTTED.finditer(text))


def _is_token(run: str) -> bool:
    """Whether one part ends with what may be a JOSE header, and claims follow: both are JSON objects in Base64, so
    they begin with `ey` (`{"`, `{ `) or `ew` (`{` and a line break). The signature may be missing."""
    return any(
        len(header) >= _MIN_HEADER_CHARS and ("ey" in header or "ew" in header) and claims.startswith(("ey", "ew"))
        for header, claims in pairwise(_DOT.split(run))
    )


def _stamp() -> str:
    return _milliseconds(time.time_ns() // 1_000_000)


@lru_cache(maxsize=2)
def _milliseconds(unix_ms: int) -> str:
    return f"{_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def render_json(_: WrappedLogger, __: str, fields: EventDict) -> str:
    """One JSON object on one line, whatever the fields hold."""
    return _json({"ts": _stamp(), "level": fields.pop("level"), "event": fields.pop("event"), **fields})


def _json(value: object) -> str:
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, which orjson rightly takes for no text
        text = json.dumps(value)
    return text if text.isascii() and "\x7f" not in text else _UNSAFE.sub(_escaped, text)


def _console(*, colours: bool) -> Render:
    def render(_: WrappedLogger, __: str, fields: EventDict) -> str:
        level = fields.pop("level")
        head = f"{_stamp()[11:23]} {_painted(level) if colours else f'{level:<7}'} {_safe(fields.pop('event'))}"
        blocks = [_indented(fields.pop(key)) for key in ("stack", "exception") if key in fields]
        return " ".join([head, *(f"{_safe(key)}={_quoted(value)}" for key, value in fields.items())]) + "".join(blocks)

    return render


def _painted(level: str) -> str:
    return f"\x1b[{_COLOURS.get(level, 0)}m{level:<7}\x1b[0m"


def _quoted(value: object) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return _safe(value)
    return _safe(json.dumps(value, ensure_ascii=False))


def _indented(text: str) -> str:
    """A traceback under its line: indented, so that no line of it passes for another event."""
    return "".join(f"\n    {_safe(line)}" for line in text.split("\n"))


def _safe(value: object) -> str:
    return _UNSAFE.sub(_escaped, str(value))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
