"""Redaction: no credential gets into a line, by whatever way, and no value is too long."""

import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import structlog

from server.logs.redaction import MAX_ITEMS, MAX_VALUE_CHARS, REDACTED, redact
from tests.doubles.lines import Lines

TOKEN = jwt.encode({"sub": "canary", "exp": 2_000_000_000}, "a secret of the tests, longer than 32 bytes", "HS256")
HEADER, CLAIMS, SIGNATURE = TOKEN.split(".")
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


SLOW = {"ey": 32_768, "ey.": 20_000, "?": 65_536, "%65": 20_000, "a.eyJ": 13_000, "bearer ": 9_000}


@pytest.mark.parametrize("piece", SLOW)
def test_redaction_is_linear(piece: str) -> None:
    """A payload's worth of text that was made to be slow takes a fraction of a second."""
    begin = time.perf_counter()
    redact(None, "info", {"value": piece * SLOW[piece]})
    assert time.perf_counter() - begin < 1
