"""A command's line: as any other, however fast it is made."""

import json
import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.logs.command_line import command_line
from server.logs.redaction import redact
from server.logs.rendering import render_json
from tests.doubles.lines import Lines

TOKEN = jwt.encode({"sub": "canary", "exp": 2_000_000_000}, "a secret of the tests, longer than 32 bytes", "HS256")

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


HOSTILE = ["token", f"Bearer {TOKEN}", f"/?x={TOKEN}", "\x7f\u2028\x1b[2K", "é", "a" * 10_000]
TEXTS = st.text() | st.sampled_from(HOSTILE)
FIELDS = {
    "name": TEXTS,
    "session": TEXTS,
    "user": st.none() | TEXTS,
    "channel": st.none() | TEXTS,
    "offset": st.none() | st.integers(0, 2**53),
    "outcome": TEXTS,
    "ms": st.floats(0, 1e9).map(lambda ms: round(ms, 2)),
}


@given(fields=st.fixed_dictionaries(FIELDS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the chain is the same for every example
def test_a_commands_json_is_what_the_renderer_makes(lines: Lines, fields: dict[str, Any]) -> None:
    """Byte for byte after the time, whatever the fields hold."""
    lines.stream.truncate(lines.stream.seek(0))
    command_line()(**fields)
    ordered = {name: fields[name] for name in FIELDS}
    general = {"level": "info", "event": "command", **ordered, "logger": "maru.command"}
    expected = render_json(None, "info", redact(None, "info", general))
    assert lines.text.rstrip("\n").partition(",")[2] == expected.partition(",")[2]
